"""bridge: swap a Kubernetes workload for a process on the laptop.

The way of the data is told in docs/explanation/architecture.md; each package's docstring says what it may do.
Imports go one way: ``cli -> session -> {cluster | tunnel | laptop} -> {plan | wire} -> base modules``.
"""

__version__ = "0.1.0"
