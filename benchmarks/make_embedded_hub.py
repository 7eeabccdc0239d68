"""Pre-train the small networks of the embedded hub.

    OMP_NUM_THREADS=1 python benchmarks/make_embedded_hub.py DATA_FOLDER [--only NAMES] [--out FOLDER]

DATA_FOLDER holds ``cifar100/train.parquet`` and ``cifar100/test.parquet`` (image, label; the class names in the schema). Each finished
network is a folder that ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads; finished ones are skipped, an interrupted one
goes on after its last epoch. About 50 minutes on one core for all.
"""

import argparse
import hashlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from embedded_hub_sources import SOURCES, Images, Source
from torch import Tensor, nn

import hubtune.nets  # noqa: F401  registers cifar_resnet* and vgg9 with timm

BATCH = 64
MEAN = STD = (0.5, 0.5, 0.5)
OUT = Path(__file__).parent.parent / "src" / "hubtune" / "hub" / "embedded"

CONVNEXT = {"patch_size": 2, "depths": [1, 1, 3, 1], "dims": [24, 48, 96, 128], "ls_init_value": 0.1}
VIT = {"img_size": 32, "patch_size": 4, "embed_dim": 64, "depth": 4, "num_heads": 2, "class_token": False, "global_pool": "avg"}
README = """# The embedded hub

Small networks for 32 x 32 images, pre-trained by `benchmarks/make_embedded_hub.py`; this table is written by the same program. Each folder
is what plain timm loads (`timm.create_model("local-dir:FOLDER", pretrained=True)`, after `import hubtune.nets`); weights are kept in half
precision and used in single precision.

The weights are licensed under Apache-2.0. Data: CIFAR-100 (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009), of
which 25,000 train rows were learned from and 3,000 test rows measured on; images drawn by `benchmarks/embedded_hub_renderers.py`, 12,000
to learn from and 2,000 to measure on, for each drawn source. No network has seen an image of the embedded tasks. Accuracy is top-1 on the
upstream data's own test images; figures on different upstream data are not comparable.

| network | architecture | pre-training | upstream accuracy | file |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Recipe:
    """How one network is made."""

    name: str
    architecture: str
    model_args: dict
    source: str
    epochs: int
    optimizer: str = "sgd"
    learning_rate: float = 0.1


RECIPES = (
    Recipe("vgg9_cifar100", "vgg9", {"width": 0.25}, "cifar100", 16, learning_rate=0.05),
    Recipe("resnet8_poses", "cifar_resnet8", {}, "poses", 10),
    Recipe("vgg9_scenes", "vgg9", {"width": 0.25}, "scenes", 9, learning_rate=0.05),
    Recipe("vit_dots", "vit_tiny_patch16_224", VIT, "dots", 10, "adamw", 1e-3),
    Recipe("resnet8_dots", "cifar_resnet8", {}, "dots", 8, learning_rate=0.05),
    Recipe("resnet8_glyphs", "cifar_resnet8", {}, "glyphs", 7),
    Recipe("vgg9_textures", "vgg9", {"width": 0.25}, "textures", 9, learning_rate=0.05),
    Recipe("convnext_things", "convnext_atto", CONVNEXT, "things", 20, "adamw", 2e-3),
    Recipe("resnet14_animals", "cifar_resnet14", {}, "animals", 12, learning_rate=0.05),
    Recipe("mobilenet_cifar100", "cifar_mobilenet", {}, "cifar100", 9, learning_rate=0.05),
    Recipe("resnet14_rotation", "cifar_resnet14", {}, "rotation", 5),
    Recipe("resnet20_cifar100", "cifar_resnet20", {}, "cifar100", 5),
)


def normalise(pixels: Tensor) -> Tensor:
    """uint8 (B, 3, 32, 32) to float32 in [-1, 1], channels last."""
    return pixels.to(memory_format=torch.channels_last).float().div_(127.5).sub_(1.0)


def augment(pixels: Tensor, source: Source, generator: torch.Generator) -> Tensor:
    """Mirror half of the images and shift each by up to ``source.shift`` pixels, the border repeated."""
    count = len(pixels)
    if source.flips:
        mirrored = torch.rand(count, generator=generator) < 0.5
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    if source.shift:
        side = torch.arange(32)
        dy, dx = torch.randint(-source.shift, source.shift + 1, (2, count, 1), generator=generator)
        rows, columns = (side + dy).clamp(0, 31), (side + dx).clamp(0, 31)
        pixels = pixels[
            torch.arange(count)[:, None, None, None], torch.arange(3)[None, :, None, None], rows[:, None, :, None], columns[:, None, None]
        ]
    return pixels


def turn(pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn each image by a random number of quarter turns; that number is its label."""
    labels = torch.randint(4, (len(pixels),), generator=generator)
    turned = torch.empty_like(pixels)
    for quarter in range(4):
        turned[labels == quarter] = torch.rot90(pixels[labels == quarter], quarter, (2, 3))
    return turned, labels


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; vectors (biases, norms) are not decayed."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=0.05)


def one_cycle(progress: float) -> float:
    """Factor on the learning rate: a linear rise over the first fifth, then a cosine to zero."""
    return max(progress / 0.2, 0.01) if progress < 0.2 else 0.5 * (1 + math.cos(math.pi * (progress - 0.2) / 0.8))


@torch.no_grad()
def accuracy(model: nn.Module, images: Images) -> float:
    """Top-1 accuracy in [0, 1]."""
    model.eval()
    pixels, labels = torch.from_numpy(images.pixels.transpose(0, 3, 1, 2).copy()), torch.from_numpy(images.labels)
    right = sum(int((model(normalise(p)).argmax(1) == t).sum()) for p, t in zip(pixels.split(250), labels.split(250), strict=True))
    return right / len(labels)


def train(model: nn.Module, recipe: Recipe, images: Images, partial: Path) -> None:
    """Train all epochs, going on from ``partial`` if it is there."""
    source = SOURCES[recipe.source]
    pixels, labels = torch.from_numpy(images.pixels.transpose(0, 3, 1, 2).copy()), torch.from_numpy(images.labels)
    optimizer = make_optimizer(model, recipe)
    steps = len(labels) // BATCH
    first = 0
    if partial.exists():
        saved = torch.load(partial, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["epoch"]
    for epoch in range(first, recipe.epochs):
        begin, total = time.perf_counter(), 0.0
        generator = torch.Generator().manual_seed(1000 * _seed(recipe.name) + epoch)
        torch.manual_seed(epoch)
        order = torch.randperm(len(labels), generator=generator)
        model.train()
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * one_cycle((epoch * steps + step) / (recipe.epochs * steps))
            rows = order[step * BATCH : (step + 1) * BATCH]
            batch, targets = augment(pixels[rows], source, generator), labels[rows]
            if source.rotation_labels:
                batch, targets = turn(batch, generator)
            loss = F.cross_entropy(model(normalise(batch)), targets, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            total += float(loss.detach())
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}, partial)
        seconds = time.perf_counter() - begin
        left = seconds * (recipe.epochs - epoch - 1) / 60
        print(
            f"  {recipe.name} epoch {epoch + 1}/{recipe.epochs} loss {total / steps:.3f} {seconds:.0f} s, {left:.1f} min left", flush=True
        )


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:3], "big")


def make(recipe: Recipe, data: Path, out: Path) -> None:
    """Train one network and write its folder; its accuracy is that of the half-precision weights in the folder."""
    import timm  # after hubtune, which lets torchvision import beside any torch build

    source = SOURCES[recipe.source]
    train_images, test_images, class_names = source.load(data)
    torch.manual_seed(_seed(recipe.name))
    model = timm.create_model(recipe.architecture, num_classes=len(class_names), **recipe.model_args).to(memory_format=torch.channels_last)
    partial = out / f"{recipe.name}.partial"
    train(model, recipe, train_images, partial)
    half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(half)
    measured = accuracy(model, test_images)
    folder = out / recipe.name
    folder.mkdir(exist_ok=True)
    safetensors.torch.save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architecture": recipe.architecture,
        "num_classes": len(class_names),
        "num_features": model.num_features,
        "model_args": recipe.model_args,
        "label_names": class_names,
        "pretrained_cfg": {
            "input_size": [3, 32, 32],
            "fixed_input_size": "img_size" in recipe.model_args,
            "mean": MEAN,
            "std": STD,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "num_classes": len(class_names),
            "classifier": model.pretrained_cfg["classifier"],
            "first_conv": model.pretrained_cfg["first_conv"],
            "license": "apache-2.0",
        },
        "card": {
            "pretraining": source.pretraining,
            "paradigm": source.paradigm,
            "upstream_dataset": source.name,
            "upstream_images": len(train_images),
            "upstream_accuracy": round(measured, 4),
            "provenance": f"benchmarks/make_embedded_hub.py; {source.provenance}",
            "license": "apache-2.0",
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    partial.unlink()
    print(f"{recipe.name}: {measured:.4f} on {source.name}", flush=True)


def write_table(out: Path) -> None:
    """README.md beside the networks: one row for each that is there."""
    rows = []
    for recipe in RECIPES:
        path = out / recipe.name / "config.json"
        if path.exists():
            card = json.loads(path.read_text())["card"]
            upstream = f"{card['paradigm']}: {card['pretraining']}, {card['upstream_images']:,} images"
            size = path.with_name("model.safetensors").stat().st_size / 1e6
            rows.append(
                f"| `{recipe.name}` | {recipe.architecture} | {upstream} | {100 * card['upstream_accuracy']:.1f} % | {size:.2f} MB |"
            )
    (out / "README.md").write_text(README + "\n".join(rows) + "\n")


def main() -> None:
    """Make every network that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path, help="folder with cifar100/train.parquet and cifar100/test.parquet")
    parser.add_argument("--only", default="", help="names of networks, comma-separated; all if left out")
    parser.add_argument("--out", type=Path, default=OUT, help="where the networks' folders go")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = set(filter(None, options.only.split(",")))
    for unknown in wanted - {recipe.name for recipe in RECIPES}:
        parser.error(f"no network is called {unknown!r}; there are {', '.join(recipe.name for recipe in RECIPES)}")
    for recipe in RECIPES:
        if wanted and recipe.name not in wanted:
            continue
        if (options.out / recipe.name / "config.json").exists():
            print(f"{recipe.name}: there already", flush=True)
            continue
        make(recipe, options.data, options.out)
    write_table(options.out)


if __name__ == "__main__":
    main()
