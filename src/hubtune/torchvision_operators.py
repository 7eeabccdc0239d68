"""Let torchvision import beside a torch build that its compiled operators do not match.

torchvision registers shape functions for two of its operators, ``nms`` and ``qnms``, as soon as it is imported; where the compiled
library did not load, the operators have no schema and the import fails, and timm's with it. Declaring the two schemas first is all
that is missing: classification models, backbones and transforms need no compiled operator.
"""

import importlib.abc
import importlib.machinery
import sys

_MODULE = "torchvision._meta_registrations"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# The library object must outlive the import: its declarations are withdrawn with it.
_declared: list = []


def _declare_missing_schemas() -> None:
    import torch

    for schema in _SCHEMAS:
        name = schema.partition("(")[0]
        if not hasattr(torch.ops.torchvision, name):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(schema)
            _declared.append(library)


class _BeforeMetaRegistrations(importlib.abc.MetaPathFinder):
    """A finder that finds nothing; being asked for the module is the moment to declare the schemas."""

    def find_spec(self, fullname, path, target=None) -> importlib.machinery.ModuleSpec | None:
        if fullname == _MODULE:
            sys.meta_path.remove(self)
            _declare_missing_schemas()
        return None


def install() -> None:
    """Install the hook, without importing torch; it does nothing where torchvision's operators load or are already imported."""
    if _MODULE not in sys.modules and not any(isinstance(finder, _BeforeMetaRegistrations) for finder in sys.meta_path):
        sys.meta_path.insert(0, _BeforeMetaRegistrations())
