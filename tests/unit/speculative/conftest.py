import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads wait for each other far longer than a tiny model computes."""
    import torch

    torch.set_num_threads(1)
