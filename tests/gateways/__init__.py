"""Every gateway adapter against one contract, and each against its own wire."""

import pytest

pytest.register_assert_rewrite("tests.gateways.gateway_contract")
