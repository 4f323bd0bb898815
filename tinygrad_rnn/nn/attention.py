"""Attention: a query looks at all keys at once, and takes the mean of their values by how well each answers.

Multi-head attention is the one of Transformers. Additive and multiplicative attention are those of recurrent
decoders: one query per step, and a memory that is the same at all steps. A mask says where not to look: True
or -inf. A query that may look nowhere gets zeros.
"""

from __future__ import annotations

from typing import Any

from tinygrad_rnn import ops
from tinygrad_rnn.namespaces import namespace
from tinygrad_rnn.nn import init
from tinygrad_rnn.nn.functional import additive_mask, attend, causal_mask
from tinygrad_rnn.nn.linear import Linear
from tinygrad_rnn.nn.module import Module, make_parameter
from tinygrad_rnn.tensor import Tensor


class MultiheadAttention(Module):
    """h heads of softmax(Q Kᵀ/√d) V, side by side, then one affine map: `torch.nn.MultiheadAttention`.

    Q, K, V are affine maps of query (L, N, E), key (S, N, kdim) and value (S, N, vdim); with batch_first N is
    the first axis, and one example has none. Weights start as in PyTorch: Xavier's, biases at zero.

    `add_bias_kv` puts a learnt key and value behind the others, `add_zero_attn` one of zeros: the weights
    count them, too. Raises ValueError unless num_heads divides embed_dim.
    Source: Vaswani et al. 2017.

    >>> import tinygrad_rnn as tg
    >>> attention = tg.nn.MultiheadAttention(embed_dim=8, num_heads=2)
    >>> query, memory = tg.randn(4, 1, 8), tg.randn(6, 1, 8)
    >>> output, weights = attention(query, memory, memory)
    >>> output.shape, weights.shape
    ((4, 1, 8), (1, 4, 6))
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
        vdim: int | None = None, batch_first: bool = False, device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"expected an embed_dim that num_heads divides, got {embed_dim} and {num_heads}")
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.batch_first, self.add_zero_attn = batch_first, add_zero_attn
        widths = {"q": embed_dim, "k": self.kdim, "v": self.vdim}
        together = set(widths.values()) == {embed_dim}
        for name, width in widths.items():
            own = None if together else make_parameter((embed_dim, width), device, dtype)
            setattr(self, f"{name}_proj_weight", None if own is None else init.xavier_uniform_(own))
        self.in_proj_weight = make_parameter((3 * embed_dim, embed_dim), device, dtype) if together else None
        if self.in_proj_weight is not None:
            init.xavier_uniform_(self.in_proj_weight)
        self.in_proj_bias = init.zeros_(make_parameter((3 * embed_dim,), device, dtype)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, device, dtype)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)
        self.bias_k, self.bias_v = (
            init.xavier_normal_(make_parameter((1, 1, embed_dim), device, dtype)) if add_bias_kv else None
            for _ in "kv"
        )

    def forward(
        self, query: Any, key: Any, value: Any, key_padding_mask: Any = None, need_weights: bool = True,
        attn_mask: Any = None, average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Any, Any]:  # fmt: skip
        """Look from every query at every key.

        Args:
            query, key, value: (L, N, E), (S, N, kdim), (S, N, vdim); N first with batch_first, none for one.
            key_padding_mask: (N, S), boolean (True: not to be looked at) or floating (to be added).
            need_weights: whether to return where each query looked.
            attn_mask: (L, S) or (N·heads, L, S), boolean or floating.
            average_attn_weights: the mean over the heads, not each head.
            is_causal: no query looks at a later key; then no attn_mask is needed.

        Returns:
            output, of the query's shape; and the weights (N, L, S) or (N, heads, L, S), or None.
        """
        self._check(query, key, value)
        batched = query.ndim == 3
        query, key, value = (self._batch_first(x) for x in (query, key, value))
        mask = self._mask(query, key, key_padding_mask, attn_mask, is_causal)
        q, k, v = (
            ops.linear(x, w, b) for x, (w, b) in zip((query, key, value), self._projections(), strict=True)
        )
        k, v = self._longer(k, self.bias_k), self._longer(v, self.bias_v)
        if mask is not None and k.shape[1] > key.shape[1]:
            mask = ops.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, k.shape[1] - key.shape[1])])
        q, k, v = map(self._heads, (q, k, v))
        context, weights = attend(q, k, v, mask, self.dropout if self.training else 0.0)
        joined = ops.reshape(ops.swapaxes(context, 1, 2), query.shape)
        if not batched:
            joined, weights = joined[0], weights[0]
        elif not self.batch_first:
            joined = ops.swapaxes(joined, 0, 1)
        if not need_weights:
            return self.out_proj(joined), None
        return self.out_proj(joined), ops.mean(weights, axis=-3) if average_attn_weights else weights

    def _batch_first(self, x: Any) -> Any:
        """(N, T, E), whatever the layout."""
        if x.ndim == 2:
            return ops.expand_dims(x, 0)
        return x if self.batch_first else ops.swapaxes(x, 0, 1)

    def _projections(self) -> list[tuple[Any, Any]]:
        """Weight and bias of Q, K and V."""
        if self.in_proj_weight is not None:
            weights = ops.split(self.in_proj_weight, 3, axis=0)
        else:
            weights = [getattr(self, f"{name}_proj_weight") for name in "qkv"]
        biases = [None] * 3 if self.in_proj_bias is None else ops.split(self.in_proj_bias, 3, axis=0)
        return list(zip(weights, biases, strict=True))

    def _longer(self, x: Any, bias: Any) -> Any:
        """Keys or values (N, S, E), with the learnt one and zeros behind them, where there are such."""
        n, _, width = x.shape
        more = [] if bias is None else [ops.broadcast_to(bias, (n, 1, width))]
        if self.add_zero_attn:
            more.append(Tensor(namespace(x.data).zeros((n, 1, width), dtype=x.dtype)))
        return ops.concatenate([x, *more], axis=1) if more else x

    def _heads(self, x: Any) -> Any:
        """(N, T, E) → (N, heads, T, E/heads)."""
        n, steps, _ = x.shape
        return ops.swapaxes(ops.reshape(x, (n, steps, self.num_heads, -1)), 1, 2)

    def _mask(self, query: Any, key: Any, padding: Any, mask: Any, is_causal: bool) -> Any:
        """What to add to the scores (N, heads, L, S): both masks, or None."""
        (n, targets), sources = query.shape[:2], key.shape[1]
        found = None
        if mask is None and is_causal:
            mask = causal_mask(targets, sources, query)
        if mask is not None:
            found = additive_mask(mask, query, "attn_mask")
            each = (n * self.num_heads, targets, sources)
            if found.shape not in ((targets, sources), each):
                raise ValueError(f"expected attn_mask {(targets, sources)} or {each}, got {found.shape}")
            found = ops.reshape(found, (n, self.num_heads, *each[1:])) if found.ndim == 3 else found
        if padding is not None:
            blocked = additive_mask(padding, query, "key_padding_mask")
            if blocked.shape not in ((n, sources), (sources,) * (n == 1)):
                raise ValueError(f"expected key_padding_mask {(n, sources)}, got {blocked.shape}")
            blocked = ops.reshape(blocked, (n, 1, 1, sources))
            found = blocked if found is None else found + blocked
        return found

    def _check(self, query: Any, key: Any, value: Any) -> None:
        widths = {"query": self.embed_dim, "key": self.kdim, "value": self.vdim}
        order = "(N, T, {})" if self.batch_first else "(T, N, {})"
        for (name, width), x in zip(widths.items(), (query, key, value), strict=True):
            if x.ndim not in (2, 3) or x.shape[-1] != width:
                expected = f"{order.format(width)} or (T, {width})"
                raise ValueError(f"expected {name} {expected}, got {x.shape}")
        batch = 0 if self.batch_first else 1
        one_batch = query.ndim == 2 or query.shape[batch] == key.shape[batch]
        if query.ndim != key.ndim or not one_batch or key.shape[:-1] != value.shape[:-1]:
            came = f"{query.shape}, {key.shape} and {value.shape}"
            raise ValueError(f"expected one batch, and as many keys as values, got {came}")

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.embed_dim}, {self.num_heads}" + ", batch_first=True" * self.batch_first


# -- for recurrent decoders ----------------------------------------------------------------------------


class _DecoderAttention(Module):
    """α = softmax(score(query, memory)), context = Σ_s α_s·memory_s; subclasses say the score."""

    batch_first: bool

    def keys(self, memory: Any) -> Any:
        """What of the score depends on the memory (N, S, M) alone: computed once, used at every step."""
        return memory

    def score(self, query: Any, keys: Any) -> Any:
        """How well each of the keys (N, S, ·) answers the query (N, Q): (N, S)."""
        raise NotImplementedError

    def forward(
        self, query: Any, memory: Any, keys: Any = None, key_padding_mask: Any = None
    ) -> tuple[Any, Any]:
        """The mean of the memory, weighted by how well each place answers the query.

        Args:
            query: (N, Q), the decoder's state.
            memory: (S, N, M), the encoder's outputs; (N, S, M) with batch_first.
            keys: `self.keys(memory)`, where a decoder keeps it from step to step.
            key_padding_mask: (N, S), boolean (True: not to be looked at) or floating (to be added).

        Returns:
            context (N, M), weights (N, S).
        """
        if memory.ndim != 3 or query.ndim != 2:
            came = f"{query.shape} and {memory.shape}"
            raise ValueError(f"expected a query (N, Q) and a memory with 3 axes, got {came}")
        memory = memory if self.batch_first else ops.swapaxes(memory, 0, 1)
        if memory.shape[0] != query.shape[0]:
            raise ValueError(f"expected one batch, got {query.shape[0]} queries, {memory.shape[0]} memories")
        scores = self.score(query, self.keys(memory) if keys is None else keys)
        if key_padding_mask is not None:
            mask = additive_mask(key_padding_mask, scores, "key_padding_mask")
            if mask.shape != scores.shape:
                raise ValueError(f"expected key_padding_mask {scores.shape}, got {mask.shape}")
            scores = scores + mask
        weights = ops.softmax(scores, axis=-1)
        return ops.squeeze(ops.matmul(ops.expand_dims(weights, 1), memory), axis=1), weights


class AdditiveAttention(_DecoderAttention):
    """score = vᵀ tanh(W q + U k + b): Bahdanau, Cho & Bengio 2015.

    >>> import tinygrad_rnn as tg
    >>> attention = tg.nn.AdditiveAttention(query_size=4, memory_size=6, hidden_size=5)
    >>> context, weights = attention(tg.randn(2, 4), tg.randn(7, 2, 6))
    >>> context.shape, weights.shape
    ((2, 6), (2, 7))
    """

    def __init__(
        self, query_size: int, memory_size: int, hidden_size: int, batch_first: bool = False,
        device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        self.batch_first = batch_first
        self.query = Linear(query_size, hidden_size, device=device, dtype=dtype)
        self.memory = Linear(memory_size, hidden_size, bias=False, device=device, dtype=dtype)
        self.energy = Linear(hidden_size, 1, bias=False, device=device, dtype=dtype)

    def keys(self, memory: Any) -> Any:
        """U k, for every place."""
        return self.memory(memory)

    def score(self, query: Any, keys: Any) -> Any:
        """vᵀ tanh(W q + U k + b)."""
        return ops.squeeze(self.energy(ops.tanh(ops.expand_dims(self.query(query), 1) + keys)), axis=-1)


class MultiplicativeAttention(_DecoderAttention):
    """score = qᵀk ("dot") or qᵀW k ("general"): Luong, Pham & Manning 2015.

    Their third, "concat", vᵀ tanh(W [q; k]), is `AdditiveAttention`, since W [q; k] = W_q q + W_k k.

    >>> import tinygrad_rnn as tg
    >>> context, weights = tg.nn.MultiplicativeAttention(4, 6)(tg.randn(2, 4), tg.randn(7, 2, 6))
    >>> context.shape, weights.shape
    ((2, 6), (2, 7))
    """

    def __init__(
        self, query_size: int, memory_size: int, method: str = "general", batch_first: bool = False,
        device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if method not in ("dot", "general"):
            hint = ": AdditiveAttention is Luong's concat" if method == "concat" else ""
            raise ValueError(f"expected method 'dot' or 'general', got {method!r}{hint}")
        if method == "dot" and query_size != memory_size:
            raise ValueError(f"expected one size for method 'dot', got {query_size} and {memory_size}")
        self.batch_first, self.method = batch_first, method
        general = method == "general"
        self.map = Linear(memory_size, query_size, False, device, dtype) if general else None

    def keys(self, memory: Any) -> Any:
        """W k, for every place."""
        return memory if self.map is None else self.map(memory)

    def score(self, query: Any, keys: Any) -> Any:
        """qᵀ(W k)."""
        return ops.squeeze(ops.matmul(keys, ops.expand_dims(query, -1)), axis=-1)
