"""Makes this folder's cases.py importable as `operator_cases`: other rooms have a cases.py too."""

import importlib.util
import sys
from pathlib import Path

if "operator_cases" not in sys.modules:
    spec = importlib.util.spec_from_file_location("operator_cases", Path(__file__).with_name("cases.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["operator_cases"] = module
    spec.loader.exec_module(module)
