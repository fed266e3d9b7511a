import pytest
from ledger_networks import step_of_case


@pytest.fixture(scope="session")
def case(tmp_path_factory):
    """The step of one of CASES and the member to tell, trained once."""
    made = {}

    def found(name):
        if name not in made:
            made[name] = step_of_case(name, tmp_path_factory.mktemp("case"))
        return made[name]

    return found
