"""A session's story: examine, plan, record, swap, join, run, supervise, put back.

Control is plain sequential code in the main thread; what it opens are context managers, so the way out is the same on
success, failure and Ctrl-C. It is the only package that sees cluster/, tunnel/ and laptop/ together: it hands the ones
what they need of the others as callables.
"""
