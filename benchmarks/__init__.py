"""
The figures that bpgen shows: `python -m benchmarks PART [--json] [--quick]`, where PART is one of
parity, host, lut, bound, wire, boards, speed.

Each module measures one thing and returns plain dataclasses; `__main__` prints them. Everything but
wall times is the same on every run.
"""
