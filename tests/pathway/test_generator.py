import torch
from torchvision.models.resnet import BasicBlock, ResNet

from hubtune.pathway.generator import PathwayGenerator, RandomPathway, generator_from_spec, hashed, resnet9

CANVAS = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def learnt(models=4, size=16, width=4):
    """A generator whose heads are no longer zero."""
    torch.manual_seed(0)
    generator = PathwayGenerator(models, size, width)
    for head in (generator.preferred, generator.noise):
        torch.nn.init.normal_(head.weight)
    return generator


def test_the_trunk_is_the_nine_layer_resnet():
    own, theirs = resnet9(64), ResNet(BasicBlock, [1, 1, 1, 1])
    theirs.fc = torch.nn.Identity()
    weights = list(theirs.state_dict().values())
    own.load_state_dict(dict(zip(own.state_dict(), weights, strict=True)))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(own.eval()(x), theirs.eval()(x))


def test_weights_sum_to_one_and_start_equal():
    for mode in (True, False):
        weights = learnt().train(mode)(CANVAS)
        assert weights.shape == (6, 4)
        torch.testing.assert_close(weights.sum(1), torch.ones(6))
    torch.testing.assert_close(PathwayGenerator(4, 16, 4).eval()(CANVAS), torch.full((6, 4), 0.25))


def test_noise_is_each_images_and_models_own_and_only_in_training():
    generator = PathwayGenerator(4, 16, 4)
    scores = generator.train()(CANVAS).log()
    assert len(scores.unique()) == scores.numel()
    assert not torch.equal(generator(CANVAS), generator(CANVAS))
    generator.eval()
    assert torch.equal(generator(CANVAS), generator(CANVAS))


def test_the_noise_has_the_deviation_that_its_head_says():
    generator = PathwayGenerator(2, 8, 4).train()
    canvas = torch.zeros(4000, 3, 8, 8, dtype=torch.uint8)
    weights = generator(canvas).detach()
    difference = (weights[:, 0] / weights[:, 1]).log()
    assert abs(float(difference.std()) / (2**0.5 * torch.tensor(2.0).log()) - 1) < 0.05


def test_softmax_stays_in_float32_under_half_precision():
    generator = learnt().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = generator(CANVAS)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(1), torch.ones(6))


def test_blocked_models_have_exact_zeros():
    for generator in (learnt(), RandomPathway(4)):
        generator.blocked[2] = True
        for mode in (True, False):
            weights = generator.train(mode)(CANVAS)
            assert (weights[:, 2] == 0).all()
            torch.testing.assert_close(weights.sum(1), torch.ones(6))


def test_one_image_alone_in_training():
    assert torch.isfinite(learnt().train()(CANVAS[:1])).all()


def test_the_random_path_is_an_images_own_in_evaluation():
    path = RandomPathway(3).eval()
    canvas = torch.randint(0, 256, (600, 3, 8, 8), dtype=torch.uint8)
    order = torch.randperm(600)
    assert torch.equal(path(canvas)[order], path(canvas[order]))
    chosen = path(canvas).argmax(1).bincount(minlength=3)
    assert chosen.min() > 150
    assert not torch.equal(path.train()(canvas).argmax(1), path(canvas).argmax(1))
    numbers = hashed(canvas, 2)
    assert abs(float(torch.corrcoef(numbers.T)[0, 1])) < 0.15
    assert abs(float(numbers.mean()) - 0.5) < 0.05


def test_a_spec_rebuilds_either_generator():
    for generator in (learnt(), RandomPathway(4)):
        fresh = generator_from_spec(generator.spec())
        fresh.load_state_dict(generator.state_dict())
        assert torch.equal(fresh.eval()(CANVAS), generator.eval()(CANVAS))


def test_a_shallow_generator_sees_as_many_channels_as_its_models():
    torch.manual_seed(0)
    generator = PathwayGenerator(3, 30, 4, kind="shallow", channels=4)
    canvas = torch.randint(0, 256, (5, 4, 30, 30), dtype=torch.uint8)
    again = generator_from_spec(generator.spec())
    again.load_state_dict(generator.state_dict())
    torch.nn.init.normal_(generator.preferred.weight)
    again.preferred.load_state_dict(generator.preferred.state_dict())
    weights = generator.eval()(canvas)
    torch.testing.assert_close(weights.sum(1), torch.ones(5))
    assert torch.equal(weights, again.eval()(canvas))
    assert weights.std(0).max() > 0
