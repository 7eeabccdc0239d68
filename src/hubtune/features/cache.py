"""The feature cache: a folder a model, in it files of features whose names and contents say which images they belong to.

An image is known by the hash of its content, so that new images, removed images and corrected labels recompute nothing that is
known. Files are written under a temporary name and renamed; two processes that compute the same features write the same file.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hubtune.errors import RunError
from hubtune.runs import cause_of, temporary_beside


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode() + str(tuple(tensors[name].shape)).encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class FeatureCache:
    """Features of one model at one canvas size.

    Args:
        folder: made when the first features are written.
    """

    folder: Path

    def write(self, keys: Sequence[str], tensors: dict[str, Tensor]) -> None:
        """Keep the features of some images.

        Args:
            keys: N image hashes.
            tensors: (N, ...) each, on the CPU.

        Raises:
            RunError: the cache cannot be written, such as on a full disk.
        """
        name = hashlib.sha256("".join(keys).encode()).hexdigest()[:24]
        temporary = temporary_beside(self.folder / name)
        metadata = {"keys": json.dumps(list(keys)), "checksum": _checksum(tensors)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata=metadata)
            os.replace(temporary, self.folder / f"{name}.safetensors")
        except (OSError, SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            raise RunError(
                f"features cannot be written to {self.folder} ({cause_of(error)}); free some space or set HUBTUNE_CACHE"
            ) from error

    def read(self, keys: Sequence[str]) -> tuple[dict[str, Tensor], list[int]]:
        """The features of those images that are known.

        A damaged file is deleted; its images count as unknown.

        Args:
            keys: N image hashes.

        Returns:
            Tensors (N, ...) whose rows of unknown images are undefined, and the positions of the unknown images.
            With no known image at all the tensors are an empty dictionary.
        """
        wanted: dict[str, list[int]] = {}
        for position, key in enumerate(keys):
            wanted.setdefault(key, []).append(position)
        found: dict[str, Tensor] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            if not wanted:
                break
            for key, row in self._rows(path, wanted):
                for position in wanted.pop(key):
                    for name, value in row.items():
                        if name not in found:
                            found[name] = value.new_empty((len(keys), *value.shape))
                        found[name][position] = value
        return found, sorted(position for positions in wanted.values() for position in positions)

    def _rows(self, path: Path, wanted: dict[str, list[int]]):
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                known = json.loads(metadata["keys"])
                useful = [(row, key) for row, key in enumerate(known) if key in wanted]
                if not useful:
                    return
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
            if _checksum(tensors) != metadata["checksum"]:
                raise ValueError("checksum")
        except FileNotFoundError:
            return
        except Exception:
            path.unlink(missing_ok=True)
            return
        seen = set()
        for row, key in useful:
            if key not in seen:
                seen.add(key)
                yield key, {name: tensor[row] for name, tensor in tensors.items()}
