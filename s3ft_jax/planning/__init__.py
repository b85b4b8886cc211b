"""Planning: will an experiment fit on a TPU slice, and how fast can it be? Answered without a TPU.

In: an architecture, a topology's name and the settings of a run. Out: memory, compile time, arithmetic and the roofline
of the programs that the run would use, compiled for that slice by libtpu where it is installed.
"""
