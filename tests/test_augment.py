"""Augmentations against torchvision, image by image, and what every yaml of the group must keep."""

from functools import cache
from typing import Any

import pytest
import torch
import torchvision.transforms.functional as tv
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torchvision.transforms import InterpolationMode

from mnist_sweep.augment import (
    Affine,
    Augmentation,
    CropRotate,
    Elastic,
    Interpolation,
    blur_matrix,
    inverse_affine_matrix,
    warp,
)
from tests.conftest import choices, make_experiment

MEAN, STD = 0.1307, 0.3081
SIDE = 28
# Where two neighbours are equally near, the two implementations' rounding errors decide.
TIES = 0.002

MODES = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}
AUGMENTATIONS = choices("augmentation")
CHANGING = [name for name in AUGMENTATIONS if name != "none"]


def random_images(batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Noise: no two pixels alike, so that a pixel taken from the wrong place shows."""
    return torch.rand(batch, 1, SIDE, SIDE, generator=seeded(1), dtype=dtype)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def from_yaml(name: str) -> tuple[Augmentation, ...]:
    return make_experiment(f"augmentation={name}").augmentation


def apply_all(
    augmentations: tuple[Augmentation, ...], images: Tensor, generator: torch.Generator
) -> Tensor:
    for augmentation in augmentations:
        images = augmentation(images, generator)
    return images


def with_strength(
    augmentations: tuple[Augmentation, ...], strength: float
) -> tuple[Augmentation, ...]:
    return tuple(
        type(augmentation)(**{**augmentation.model_dump(), "strength": strength})
        for augmentation in augmentations
    )


def changed(cls: type[Augmentation], **fields: Any) -> Augmentation:
    """An augmentation with its yaml's values but for `fields`."""
    examples = [part for name in CHANGING for part in from_yaml(name) if type(part) is cls]
    return cls(**{**examples[0].model_dump(), **fields})


def share_that_differs(images: Tensor, expected: Tensor) -> float:
    return ((images - expected).abs() > 1e-5).float().mean().item()


def tv_affine(
    images: Tensor,
    angles: Tensor,
    shifts: Tensor,
    scales: Tensor,
    shears: Tensor,
    mode: Interpolation,
    fill: list[float] | None = None,
) -> Tensor:
    """torchvision's affine of each image with its own parameters; shifts: (2, B) in pixels."""
    return torch.stack(
        [
            tv.affine(
                image,
                angle=angles[i].item(),
                translate=shifts[:, i].tolist(),
                scale=scales[i].item(),
                shear=[shears[i].item(), 0.0],
                interpolation=MODES[mode],
                fill=fill,
            )
            for i, image in enumerate(images)
        ]
    )


@given(
    angle=st.floats(-180, 180),
    shift=st.tuples(st.floats(-SIDE, SIDE), st.floats(-SIDE, SIDE)),
    scale=st.floats(0.3, 2),
    shear=st.floats(-80, 80),
)
@settings(max_examples=60, deadline=None)
def test_bilinear_warp_is_torchvisions_affine(
    angle: float, shift: tuple[float, float], scale: float, shear: float
) -> None:
    # In doubles, so that the tolerance can be far below any real difference.
    angles, scales, shears = (torch.tensor([v], dtype=torch.float64) for v in (angle, scale, shear))
    shifts = torch.tensor(shift, dtype=torch.float64).view(2, 1)
    images = random_images(1, torch.float64)
    matrix = inverse_affine_matrix(angles, shifts * (2 / SIDE), scales, shears)
    expected = tv_affine(images, angles, shifts, scales, shears, "bilinear")
    torch.testing.assert_close(warp(images, matrix, "bilinear", 0.0), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("fill", [0.0, 0.4])
def test_nearest_warp_is_torchvisions_affine(fill: float) -> None:
    batch = 64
    images = random_images(batch, torch.float64)
    uniform = torch.rand(5, batch, generator=seeded(2), dtype=torch.float64) * 2 - 1
    angles, shears, scales = uniform[0] * 180, uniform[1] * 60, 1 + uniform[2] * 0.6
    shifts = uniform[3:] * 10
    matrix = inverse_affine_matrix(angles, shifts * (2 / SIDE), scales, shears)
    expected = tv_affine(images, angles, shifts, scales, shears, "nearest", [fill])
    assert share_that_differs(warp(images, matrix, "nearest", fill), expected) < TIES


def test_bilinear_fill_is_the_value_of_what_lies_outside() -> None:
    # Not torchvision's own `fill`, which weights border pixels twice when bilinear.
    batch, fill = 32, 0.3
    images = random_images(batch, torch.float64)
    uniform = torch.rand(5, batch, generator=seeded(3), dtype=torch.float64) * 2 - 1
    angles, shears, scales = uniform[0] * 180, uniform[1] * 60, 1 + uniform[2] * 0.6
    shifts = uniform[3:] * 10
    parameters = (angles, shifts, scales, shears)
    inside = tv_affine(torch.ones_like(images), *parameters, mode="bilinear")
    assert (inside == 0).any() and ((inside > 0.1) & (inside < 0.9)).any()
    expected = tv_affine(images, *parameters, mode="bilinear") + (1 - inside) * fill
    matrix = inverse_affine_matrix(angles, shifts * (2 / SIDE), scales, shears)
    torch.testing.assert_close(warp(images, matrix, "bilinear", fill), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("whole_pixels", [False, True])
@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_affine_warps_each_image_with_its_own_parameters(
    interpolation: Interpolation, whole_pixels: bool, strength: float
) -> None:
    affine = changed(
        Affine,
        strength=strength,
        rotate=30.0,
        translate=0.2,
        scale=0.3,
        shear=20.0,
        whole_pixels=whole_pixels,
        interpolation=interpolation,
        fill=0.0,
    )
    images = random_images(48)
    uniform = torch.rand(5, 48, generator=seeded(4)) * 2 - 1
    shifts = uniform[:2] * (0.2 * SIDE * strength)
    expected = tv_affine(
        images,
        angles=uniform[2] * 30 * strength,
        shifts=shifts.round() if whole_pixels else shifts,
        scales=1 + uniform[3] * 0.3 * strength,
        shears=uniform[4] * 20 * strength,
        mode=interpolation,
    )
    augmented = affine(images, seeded(4))
    if interpolation == "bilinear":
        torch.testing.assert_close(augmented, expected, rtol=0, atol=1e-4)
    else:
        assert share_that_differs(augmented, expected) < TIES


def test_whole_pixel_shifts_move_pixels_unchanged_and_no_further_than_asked() -> None:
    affine = changed(
        Affine, rotate=0.0, translate=0.1, scale=0.0, shear=0.0, whole_pixels=True, fill=0.0
    )
    point = torch.zeros(256, 1, SIDE, SIDE)
    point[:, :, 14, 14] = 1
    moved = affine(point, seeded(5))
    torch.testing.assert_close(moved.amax((1, 2, 3)), torch.ones(256))
    positions = moved.flatten(1).argmax(1)
    moves = torch.stack([positions // SIDE, positions % SIDE]) - 14
    # 0.1 of 28 pixels is 2.8, rounded to 3.
    assert all(set(axis.tolist()) == set(range(-3, 4)) for axis in moves)


def test_r1_augments_as_torchvisions_random_affine() -> None:
    [affine] = make_experiment("experiment=ds_cnn").augmentation
    images = random_images(64)
    uniform = torch.rand(5, 64, generator=seeded(6)) * 2 - 1
    expected = tv_affine(
        images,
        angles=uniform[2] * 10,
        shifts=(uniform[:2] * 0.1 * SIDE).round(),
        scales=torch.ones(64),
        shears=torch.zeros(64),
        mode="nearest",
    )
    assert share_that_differs(affine(images, seeded(6)), expected) < TIES


def test_r5_shears_after_normalisation() -> None:
    [shear] = make_experiment("experiment=transition_cnn").augmentation
    images = random_images(64)
    uniform = torch.rand(5, 64, generator=seeded(7)) * 2 - 1
    expected = tv_affine(
        (images - MEAN) / STD,
        angles=torch.zeros(64),
        shifts=torch.zeros(2, 64),
        scales=torch.ones(64),
        shears=uniform[4] * 10,
        mode="nearest",
        fill=[0.0],
    )
    assert (expected == 0).sum() > 64, "the shear must bring new pixels in, or fill is not tested"
    normalised = (shear(images, seeded(7)) - MEAN) / STD
    assert share_that_differs(normalised, expected) < TIES


@pytest.mark.parametrize("crop", [2, 14, 22, 23, 27, 28])
def test_crop_rotate_without_rotation_enlarges_the_centre(crop: int) -> None:
    images = random_images(4)
    enlarge = changed(CropRotate, probability=1.0, crop=crop, rotate=0.0)
    low = (SIDE - crop) // 2
    centre = images[:, :, low : low + crop, low : low + crop]
    if crop % 2 == 0:  # an odd crop has no exact centre; torchvision's choice of side alternates
        assert torch.equal(centre, tv.center_crop(images, [crop, crop]))
    expected = tv.resize(centre, [SIDE, SIDE], InterpolationMode.BILINEAR)
    torch.testing.assert_close(enlarge(images, seeded(8)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_crop_rotate_crops_a_share_and_rotates_all(strength: float) -> None:
    crop_rotate = changed(CropRotate, strength=strength, probability=0.6, crop=22, rotate=40.0)
    images = random_images(64)
    uniform = torch.rand(2, 64, generator=seeded(9))
    is_cropped = uniform[0] < 0.6 * strength
    angles = (uniform[1] * 2 - 1) * 40 * strength
    assert 0 < is_cropped.sum() < 64
    enlarged = tv.resize(tv.center_crop(images, [22, 22]), [SIDE, SIDE])
    # torchvision's rotate turns the other way than its affine.
    expected = torch.stack(
        [
            tv.rotate(big if cropped else image, -angle, InterpolationMode.NEAREST, fill=[0.0])
            for image, big, cropped, angle in zip(
                images, enlarged, is_cropped, angles.tolist(), strict=True
            )
        ]
    )
    assert share_that_differs(crop_rotate(images, seeded(9)), expected) < TIES


def test_r3_crops_a_tenth_of_the_images() -> None:
    [r3] = make_experiment("experiment=rf_cnn").augmentation
    # A bright frame outside the central 22x22 is gone where the image was cropped, and stays where
    # it was only rotated.
    images = torch.zeros(4000, 1, SIDE, SIDE)
    images[:, :, :3], images[:, :, -3:] = 1, 1
    share = (r3(images, seeded(10)).amax((1, 2, 3)) == 0).float().mean().item()
    assert share == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.3, 4.0, 6.5])
@pytest.mark.parametrize("size", [SIDE, 35])
def test_blur_matrix_is_torchvisions_gaussian_blur(size: int, sigma: float) -> None:
    fields = torch.rand(3, 1, size, size, generator=seeded(11)) * 2 - 1
    width = int(8 * sigma + 1)
    width += 1 - width % 2
    expected = tv.gaussian_blur(fields, [width, width], [sigma, sigma])
    blur = blur_matrix(size, sigma)
    torch.testing.assert_close(blur @ fields @ blur.mT, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sigma", [7.0, 13.0])
def test_a_blur_wider_than_the_image_is_cut_at_what_reflection_allows(sigma: float) -> None:
    fields = torch.rand(3, 1, SIDE, SIDE, generator=seeded(12)) * 2 - 1
    widest = 2 * (SIDE - 1) + 1
    expected = tv.gaussian_blur(fields, [widest, widest], [sigma, sigma])
    blur = blur_matrix(SIDE, sigma)
    torch.testing.assert_close(blur @ fields @ blur.mT, expected, rtol=0, atol=1e-5)


@given(sigma=st.floats(0.05, 13), size=st.integers(2, 40))
@settings(max_examples=30, deadline=None)
def test_a_blur_keeps_a_constant_field(sigma: float, size: int) -> None:
    torch.testing.assert_close(blur_matrix(size, sigma).sum(1), torch.ones(size))


@pytest.mark.parametrize(("alpha", "sigma", "strength"), [(34.0, 4.0, 1.0), (20.0, 2.0, 3.0)])
def test_elastic_displaces_as_torchvisions_elastic_transform(
    alpha: float, sigma: float, strength: float
) -> None:
    images = random_images(16)
    noise = torch.rand(16, 2, SIDE, SIDE, generator=seeded(13)) * 2 - 1
    width = int(8 * sigma + 1)
    smooth = tv.gaussian_blur(noise, [width, width], [sigma, sigma])
    # alpha counts pixels; torchvision's grid has the side 2 long.
    displacements = (smooth * alpha * strength * 2 / SIDE).permute(0, 2, 3, 1)
    expected = torch.stack(
        [
            tv.elastic_transform(image, displacement[None])
            for image, displacement in zip(images, displacements, strict=True)
        ]
    )
    elastic = changed(Elastic, strength=strength, alpha=alpha, sigma=sigma)
    torch.testing.assert_close(elastic(images, seeded(13)), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_strength_0_returns_the_input(name: str) -> None:
    images = random_images(8)
    augmented = apply_all(with_strength(from_yaml(name), 0.0), images.clone(), seeded(14))
    assert torch.equal(augmented, images)


@pytest.mark.parametrize("name", CHANGING)
def test_a_small_strength_changes_images_less_than_full_strength(name: str) -> None:
    # A smooth image, so that the change grows with the displacement.
    ramp = torch.linspace(0, 1, SIDE)
    images = (ramp.view(-1, 1) * ramp).expand(256, 1, SIDE, SIDE)
    full, half, weak = (
        (apply_all(with_strength(from_yaml(name), strength), images, seeded(15)) - images)
        .abs()
        .mean()
        .item()
        for strength in (1.0, 0.5, 0.1)
    )
    assert full > half > weak > 0


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("strength", [1.0, 10.0])
@pytest.mark.parametrize("batch", [1, 32])
def test_shape_dtype_and_range_are_kept(name: str, strength: float, batch: int) -> None:
    images = random_images(batch)
    before = images.clone()
    augmented = apply_all(with_strength(from_yaml(name), strength), images, seeded(16))
    assert augmented.shape == images.shape and augmented.dtype == images.dtype
    assert augmented.min() >= -1e-6 and augmented.max() <= 1 + 1e-6
    assert torch.equal(images, before), "the batch handed in must not be written to"


@pytest.mark.parametrize("name", CHANGING)
def test_the_generator_alone_decides_and_each_image_has_its_own_draw(name: str) -> None:
    images = random_images(1).expand(16, 1, SIDE, SIDE)
    first = apply_all(from_yaml(name), images, seeded(17))
    torch.manual_seed(0)  # the global generator must not matter
    again = apply_all(from_yaml(name), images, seeded(17))
    torch.manual_seed(1)
    assert torch.equal(apply_all(from_yaml(name), images, seeded(17)), again)
    assert torch.equal(first, again)
    assert not torch.equal(apply_all(from_yaml(name), images, seeded(18)), first)
    assert not torch.equal(first[0], first[1])
    generator = seeded(17)
    apply_all(from_yaml(name), images, generator)
    assert not torch.equal(apply_all(from_yaml(name), images, generator), first)


def below(bound: float, *, inclusive: bool = False) -> st.SearchStrategy[float]:
    return st.floats(max_value=bound, exclude_max=not inclusive, allow_nan=False)


def above(bound: float, *, inclusive: bool = False) -> st.SearchStrategy[float]:
    return st.floats(min_value=bound, exclude_min=not inclusive, allow_nan=False)


OUT_OF_RANGE = {
    (Affine, "strength"): below(0) | above(10),
    (Affine, "rotate"): below(0) | above(180),
    (Affine, "translate"): below(0) | above(1),
    (Affine, "scale"): below(0) | above(1, inclusive=True),
    (Affine, "shear"): below(0) | above(90, inclusive=True),
    (Affine, "fill"): below(0) | above(1),
    (CropRotate, "strength"): below(0) | above(10),
    (CropRotate, "probability"): below(0) | above(1),
    (CropRotate, "rotate"): below(0) | above(180),
    (Elastic, "strength"): below(0) | above(10),
    (Elastic, "alpha"): below(0),
    (Elastic, "sigma"): below(0, inclusive=True) | above(13),
}


@given(data=st.data())
@settings(max_examples=10, deadline=None)
@pytest.mark.parametrize(("cls", "field"), OUT_OF_RANGE)
def test_a_parameter_out_of_range_is_rejected(
    cls: type[Augmentation], field: str, data: st.DataObject
) -> None:
    value = data.draw(OUT_OF_RANGE[cls, field] | st.just(float("nan")))
    with pytest.raises(ValidationError, match=field):
        changed(cls, **{field: value})


@given(crop=st.integers(max_value=0) | st.integers(min_value=29) | st.floats(1, 28))
@settings(max_examples=20, deadline=None)
def test_a_crop_that_is_no_number_of_pixels_of_the_image_is_rejected(crop: float) -> None:
    with pytest.raises(ValidationError, match="crop"):
        changed(CropRotate, crop=crop)


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (Affine, {"strength": 10, "rotate": 180, "translate": 1, "scale": 0.99, "shear": 89.9}),
        (Affine, {"strength": 0, "rotate": 0, "translate": 0, "scale": 0, "shear": 0, "fill": 1}),
        (CropRotate, {"probability": 0, "crop": 1, "rotate": 180}),
        (CropRotate, {"probability": 1, "crop": 28, "rotate": 0}),
        (Elastic, {"alpha": 0, "sigma": 13}),
    ],
)
def test_the_ends_of_the_ranges_work(cls: type[Augmentation], fields: dict[str, Any]) -> None:
    augmented = changed(cls, **fields)(random_images(16), seeded(19))
    assert augmented.min() >= -1e-6 and augmented.max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("field", "value"), [("interpolation", "cubic"), ("whole_pixels", 1), ("colour", 0.1)]
)
def test_wrong_types_and_unknown_fields_are_rejected(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        changed(Affine, **{field: value})
