"""Examples that run by themselves, on real data, and leave pictures in out/."""
