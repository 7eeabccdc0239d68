"""Where labelled images come from: the name before the colon of a specification, and the function that reads what follows it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hubtune.tasks import demo, folder, huggingface, npz, parquet, torchvision, vtab
from hubtune.tasks.reading import Reading

# A reader takes the location, and as keyword arguments with defaults the options that only this source knows.
SOURCES: Mapping[str, Callable[..., Reading]] = MappingProxyType(
    {
        "folder": folder.read,
        "parquet": parquet.read,
        "npz": npz.read,
        "hf": huggingface.read,
        "torchvision": torchvision.read,
        "vtab": vtab.read,
        "demo": demo.read,
    }
)
