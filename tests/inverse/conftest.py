"""What every file here may ask for."""

import pytest

from tests.cases import SDES


@pytest.fixture(params=SDES)
def sde(request):
    return SDES[request.param]
