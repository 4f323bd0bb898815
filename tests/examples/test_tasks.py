"""The tasks' data are what their pages say, their known answers are right, and each trains and is drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

import tinygrad_rnn as tg
from examples import adding, bible, copying, data, digits, order, reber, sunspots, tasks, translation, vowels

TEXT = "the cat sat on the mat.\n" * 40
LINES = [("la luz", "the light"), ("el gato ve la luz", "¶ The cat sees the light"), ("el gato", "the cat")]


@pytest.fixture
def there():
    """Calls a reader of real data; without its package the test is skipped, and says which is missing."""

    def read(reader, *arguments):
        try:
            return reader(*arguments)
        except data.Missing as missing:
            pytest.skip(str(missing))

    return read


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A text, and lines in two languages, too few for 200 to be held out."""
    monkeypatch.setattr(translation, "HELD_OUT", 3)
    monkeypatch.setattr(bible, "STRIPS", 4)
    (tmp_path / "text").write_text(TEXT, "utf-8")
    for side, name in enumerate(("source", "target")):
        (tmp_path / name).write_text("\n".join(pair[side] for pair in LINES * 40), "utf-8")
    return tmp_path


# -- answers that are known ----------------------------------------------------------------------------


def test_always_answering_one_scores_a_sixth_on_the_adding_problem(rng):
    asked = adding.draw(rng, 100_000)
    assert adding.score(np.ones((100_000, 1)), asked)["squared error"] == pytest.approx(1 / 6, rel=0.02)


def test_the_two_marked_numbers_are_what_is_added(rng):
    asked = adding.draw(rng, 50)
    x, y = asked.x.numpy(), asked.y.numpy()
    assert (x[:, :, 1].sum(0) == 2).all()
    np.testing.assert_allclose((x[:, :, 0] * x[:, :, 1]).sum(0), y[:, 0], rtol=1e-6)


def test_without_a_memory_copying_scores_what_its_page_says(rng):
    asked = copying.draw(rng, 300)
    answers = np.zeros((*asked.y.shape, 9))
    answers[:-10, :, copying.BLANK] = 1e3
    answers[-10:, :, copying.BLANK] = -1e3
    came = copying.score(answers, asked)["nats per step"]
    assert came == pytest.approx(copying.CHANCE) == pytest.approx(10 * math.log(8) / 30)


def test_what_is_copied_stood_at_the_beginning(rng):
    asked = copying.draw(rng, 20)
    x, y = asked.x.numpy().argmax(-1), asked.y.numpy()
    assert (x[:10] == y[-10:]).all() and (y[:-10] == copying.BLANK).all() and len(x) == 30
    assert (x[-11] == copying.SIGN).all() and (x[-10:] == copying.BLANK).all()


def test_the_class_is_which_signs_came_in_which_order(rng):
    asked = order.draw(rng, 200)
    x = asked.x.numpy().argmax(-1)
    for n, letters in enumerate(x.T):
        (first, second) = np.flatnonzero(letters >= 4)
        assert 5 <= first < 10 and 25 <= second < 30
        assert asked.y.numpy()[n] == 2 * (letters[first] - 4) + letters[second] - 4
    assert set(asked.y.tolist()) == {0, 1, 2, 3}


def walks(least):
    """Every walk through Reber's automaton with at least that probability."""
    open_ones, done = [(0, "", 1.0)], []
    while open_ones:
        state, letters, p = open_ones.pop()
        if state == 5:
            done.append((letters, p))
        elif p >= least:
            open_ones += [(target, letters + letter, p / 2) for letter, target in reber.WALK[state].items()]
    return done


def test_the_floor_of_the_reber_grammar_is_that_of_all_its_strings():
    found = walks(2.0**-22)
    assert sum(p for _, p in found) == pytest.approx(1, abs=2e-3)
    nats = sum(p * (1 + len(letters)) for letters, p in found) * math.log(2)
    predictions = sum(p * (len(letters) + 5) for letters, p in found)
    assert nats / predictions == pytest.approx(reber.floor(), rel=4e-3)
    assert reber.floor() == pytest.approx(7 * math.log(2) / 11)
    assert f"{reber.floor():.5f}" == "0.44109"


def test_strings_are_the_grammars(rng):
    known = {letters for letters, _ in walks(2.0**-14)}
    for _ in range(200):
        text = reber.string(rng)
        assert text[0] == text[2] == "B" and text[-1] == text[-3] == "E" and text[1] == text[-2]
        assert text[3:-3] in known or len(text) > 20


def test_the_grammar_itself_scores_its_floor(rng):
    strings = [reber.string(rng) for _ in range(100)]
    asked = reber.spelled(strings)
    answers = np.full((*asked.y.shape, 7), -1e3)
    for n, text in enumerate(strings):
        state = 0
        for t, letter in enumerate(text[1:]):
            inside = 2 <= t < len(text) - 4
            choices = "TP" if t == 0 else [*reber.WALK[state]] if inside else letter
            state = reber.WALK[state][letter] if inside else state
            answers[t, n, [reber.LETTERS.index(one) for one in choices]] = 0
    scores = reber.score(answers, asked)
    assert scores == {"nats per prediction": pytest.approx(reber.floor()), "outer symbol": 1.0}


# -- real data -----------------------------------------------------------------------------------------


def test_270_utterances_are_learnt_from_and_370_asked_about(there):
    for part, count in (("TRAIN", 270), ("TEST", 370)):
        frames, speakers = there(vowels.read, part)
        assert len(frames) == len(speakers) == count and set(speakers.tolist()) == set(range(9))
        lengths = [len(f) for f in frames]
        assert {f.shape[1] for f in frames} == {12} and min(lengths) == 7 and max(lengths) <= 29
    assert (np.bincount(there(vowels.read, "TRAIN")[1]) == 30).all()
    scaled = np.concatenate(vowels.utterances("TRAIN")[0])
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-4)


def test_sunspots_are_asked_after_what_was_learnt_and_ar12_is_as_published(there):
    lags, numbers = there(sunspots.windows, 1921, 1955)
    assert lags.shape == (35, 12) and (lags[1:, -1] == numbers[:-1]).all()
    assert len(sunspots.windows(1700, 1920)[1]) == 209
    assert sunspots.windows(1957, 1957)[1] == [190.2]
    assert sunspots.autoregression() == pytest.approx(0.126, abs=5e-4)


def test_digits_are_the_same_as_rows_and_as_pixels(there):
    x, y = there(digits.images)
    assert x.shape == (1797, 8, 8) and x.min() == 0 and x.max() == 1
    assert (np.bincount(y) > 170).all()
    assert (digits.pixels()[0][:, :, 0] == x.reshape(-1, 64)).all()


def test_the_bible_has_its_verses(there):
    alphabet, learnt, held_out = there(bible.read, None)
    text = "".join(alphabet[k] for k in learnt[:55])
    assert text.startswith("In the beginning God created the heaven and the earth.")
    assert sum((part == 0).sum() for part in (learnt, held_out)) == 31_102


# -- text ----------------------------------------------------------------------------------------------


def test_a_text_is_read_as_letters_the_last_twentieth_held_out(files):
    alphabet, learnt, held_out = bible.read(files / "text")
    assert "".join(alphabet[k] for k in [*learnt, *held_out]) == TEXT
    assert len(held_out) == len(TEXT) // 20


def test_a_speller_goes_on_from_its_state(files):
    task = bible.task(files / "text")
    net = tasks.made(task, task.shape, 0)
    x = tg.tensor(bible.read(files / "text")[1][:20, None])
    whole, _ = net.carry(x, None)
    first, state = net.carry(x[:8], None)
    again = np.concatenate([first.numpy(), net.carry(x[8:], state)[0].numpy()])
    np.testing.assert_allclose(again, whole.numpy(), rtol=1e-4, atol=1e-6)


def test_what_is_written_gets_surer_as_it_gets_colder(files, rng):
    task = bible.task(files / "text")
    net = tasks.made(task, task.shape, 0)
    tasks.learn(replace(task, epochs=8), net, 0, progress=False)
    cold = {net.write("the", 20, 1e-3, np.random.default_rng(seed)) for seed in range(3)}
    warm = {net.write("the", 20, 1.5, np.random.default_rng(seed)) for seed in range(3)}
    assert len(cold) == 1 and len(warm) == 3
    assert all(text.startswith("the") and len(text) == 23 for text in cold | warm)


def test_pairs_of_lines_become_words_that_were_met_twice(files):
    found = translation.pairs((files / "source", files / "target"))
    assert len(found.words) == 120 and "¶" not in found.known[1]
    assert found.known[0][4:] == ["el", "gato", "la", "luz", "ve"]
    assert found.encoded(["la", "estrella"], 0).tolist() == [found.known[0].index("la"), 3, 2]
    assert 1 < found.guessing() < len(found.known[1])


def test_both_bibles_stand_verse_by_verse(there):
    found = there(translation.pairs, None)
    said = {" ".join(source): " ".join(target) for source, target in found.words}
    assert said["y lloró jesús ."] == "jesus wept ."
    assert max(len(side) for pair in found.words for side in pair) <= translation.LONGEST


# -- training ------------------------------------------------------------------------------------------

SMALL = {
    "adding": lambda files: adding.TASK, "copying": lambda files: copying.TASK,
    "order": lambda files: order.TASK, "reber": lambda files: reber.TASK,
    "vowels": lambda files: vowels.TASK, "sunspots": lambda files: sunspots.TASK,
    "digits": lambda files: digits.ROWS, "pixels": lambda files: digits.PIXELS,
    "bible": lambda files: bible.task(files / "text"),
    "translation": lambda files: translation.task((files / "source", files / "target")),
}  # fmt: skip


class First(list):
    """The first batches of a task."""

    def __init__(self, whole):
        super().__init__(islice(whole.batches(0), 3))
        self.carries = getattr(whole, "carries", False)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_task_trains_and_leaves_its_pictures(name, files, there, capsys):
    task = SMALL[name](files)
    first = First(there(task.data, 0))
    task = replace(task, data=lambda seed: first)
    tasks.main(task, ["--epochs", "1", "--out", str(files / "out")])
    said = capsys.readouterr().out
    assert said.count("after 3 updates") == 2 and "\nRNN" in said
    kind = task.shape.kind
    assert sorted(path.stem for path in (files / "out").iterdir()) == sorted(
        f"{task.name.replace(' ', '-')}-{what}"
        for what in (f"cells-{kind}-trained", "cells-before-training", "heatmap-kinds", "heatmap-trained")
    )


@pytest.mark.slow
def test_a_text_of_ones_own_is_read_and_continued(files, capsys):
    given = ["--file", str(files / "text"), "--epochs", "1", "--out", str(files / "out"), "--write", "30"]
    assert bible.main(given) == 0
    assert "bits per letter" in capsys.readouterr().out


@pytest.mark.slow
def test_lines_of_ones_own_are_translated_and_the_looks_are_drawn(files, capsys):
    given = ["--files", str(files / "source"), str(files / "target")]
    assert translation.main([*given, "--epochs", "1", "--out", str(files / "out")]) == 0
    assert capsys.readouterr().out.count("said:") == 5
    assert (files / "out" / "translation-attention.svg").exists()


def test_drawn_batches_are_the_same_again_and_never_twice():
    drawn = tasks.Drawn(lambda rng: tasks.even(rng.random((3, 2, 1)), np.zeros(2)), 5, seed=1)
    first, again = ([b.x.numpy() for b in drawn.batches()] for _ in range(2))
    assert np.array_equal(first, again) and len(np.unique(first)) == 5 * 6
    assert np.array_equal([b.x.numpy() for b in drawn.batches(start=3)], first[3:])
    assert len(drawn) == 5


def test_padding_counts_for_nothing_in_nats():
    answers = np.log([[[0.25, 0.75]], [[0.5, 0.5]]])
    np.testing.assert_allclose(tasks.nats(answers, np.array([[1], [-100]])), [-math.log(0.75)])


def test_a_network_that_looks_ahead_is_not_offered_where_the_next_step_is_asked(capsys):
    assert [shape.bidirectional for shape in reber.TASK.shapes] == [False, False]
    assert len(order.TASK.shapes) == 4
    with pytest.raises(SystemExit):
        tasks.main(reber.TASK, ["--bidirectional"])
    assert "unrecognized arguments: --bidirectional" in capsys.readouterr().err


# -- where data come from ------------------------------------------------------------------------------


def test_what_is_missing_is_named_with_what_brings_it(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CACHE", tmp_path)
    with pytest.raises(data.Missing, match=r"needs the package nowhere: pip install 'tinygrad-rnn\[data\]'"):
        data.in_package("nowhere", "file")
    with pytest.raises(data.Missing, match="needs Debian's nowhere: apt-get install nowhere, or make data"):
        data.in_debian("nowhere", "usr/no")


def test_debians_files_are_found_where_they_were_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CACHE", tmp_path)
    file = tmp_path / "debian" / "usr" / "share" / "text"
    file.parent.mkdir(parents=True)
    file.touch()
    assert data.in_debian("package", "usr/share/text") == file


def test_what_is_cached_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    assert [data.cached("name", lambda made=made: made) for made in ("first", "second")] == ["first"] * 2
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["name"]
