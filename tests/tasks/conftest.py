"""Small images and folders of them."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from PIL import Image

settings.register_profile("untimed", deadline=None, max_examples=50)
settings.load_profile("untimed")


class Pictures:
    """Makes images that differ from each other, and files of them."""

    @staticmethod
    def array(number: int, size: tuple[int, int] = (8, 8)) -> np.ndarray:
        return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)

    def png(self, number: int, size: tuple[int, int] = (8, 8)) -> bytes:
        return self.encoded(Image.fromarray(self.array(number, size)))

    @staticmethod
    def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    def folder(self, root: Path, counts: dict[str, int], first: int = 0, size: tuple[int, int] = (8, 8)) -> Path:
        """Class folders ("cat", or "train/cat") with so many images each."""
        for name, count in counts.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                (root / name / f"{i:03d}.png").write_bytes(self.png(first, size))
                first += 1
        return root

    def table(self, labels: list, first: int = 0, names: list[str] | None = None, **columns) -> pa.Table:
        """Rows as the Hugging Face libraries write them."""
        images = [{"bytes": self.png(first + i), "path": None} for i in range(len(labels))]
        table = pa.table(
            {"image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])), "label": labels, **columns}
        )
        if names is None:
            return table
        quoted = ", ".join(f'"{name}"' for name in names)
        features = f'{{"image": {{"_type": "Image"}}, "label": {{"_type": "ClassLabel", "names": [{quoted}]}}}}'
        return table.replace_schema_metadata({"huggingface": f'{{"info": {{"features": {features}}}}}'})

    def parquet(self, folder: Path, **tables: pa.Table) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            pq.write_table(table, folder / f"{name}.parquet")
        return folder


@pytest.fixture
def pictures() -> Pictures:
    return Pictures()
