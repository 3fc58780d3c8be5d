"""A budget grants files up to its limit."""

from exporter.kernel.fd_budget import FdBudget


def test_it_grants_up_to_the_limit() -> None:
    budget = FdBudget(5)

    assert budget.reserve(3) == 3
    assert budget.reserve(3) == 2
    assert budget.reserve(1) == 0
    assert budget.held == 5


def test_released_files_are_granted_again() -> None:
    budget = FdBudget(5)
    budget.reserve(5)

    budget.release(2)

    assert budget.reserve(9) == 2


def test_a_limit_lowered_below_what_is_held_grants_nothing() -> None:
    budget = FdBudget(5)
    budget.reserve(5)
    budget.limit = 2

    budget.release(2)

    assert budget.reserve(1) == 0
    assert budget.held == 3
