"""Augmentations: batched tensor functions on the training device.

Images are (B, C, H, W) float in 0..1. Each class draws one set of parameters an image from the
generator it is handed (which lives on the images' device). `strength` multiplies what it does; at 0
it returns its input.
"""

from abc import abstractmethod
from functools import cache
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mnist_sweep.config import Schema

Strength = Annotated[float, Field(ge=0, le=10)]
Degrees = Annotated[float, Field(ge=0, le=180)]
Interpolation = Literal["nearest", "bilinear"]


class Augmentation(Schema):
    strength: Strength

    def __call__(self, images: Tensor, generator: torch.Generator, share: float = 1.0) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), at so large a share of its strength."""
        strength = self.strength * share
        return self.apply(images, generator, strength) if strength else images

    @abstractmethod
    def apply(self, images: Tensor, generator: torch.Generator, strength: float) -> Tensor: ...


class Affine(Augmentation):
    """Rotation, shift, scale and shear about the centre, each drawn uniformly."""

    rotate: Degrees
    """Degrees either way."""
    translate: Annotated[float, Field(ge=0, le=1)]
    """Share of the side, either way, on each axis."""
    scale: Annotated[float, Field(ge=0, lt=1)]
    """Factor from 1 - scale to 1 + scale."""
    shear: Annotated[float, Field(ge=0, lt=90)]
    """Degrees either way, along x."""
    whole_pixels: bool
    """Round shifts to whole pixels, as torchvision's RandomAffine does."""
    interpolation: Interpolation
    fill: Annotated[float, Field(ge=0, le=1)]
    """Value of new pixels; 0 is black."""

    def apply(self, images: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        batch, (height, width) = len(images), images.shape[-2:]
        uniform = torch.rand(5, batch, generator=generator, device=images.device) * 2 - 1
        uniform *= strength
        shift = []
        for share, side in zip(uniform[:2], (width, height), strict=True):
            pixels = share * (self.translate * side)
            shift.append((pixels.round() if self.whole_pixels else pixels) * (2 / side))
        matrix = inverse_affine_matrix(
            angle=uniform[2] * self.rotate,
            shift=torch.stack(shift),
            scale=(1 + uniform[3] * self.scale).clamp_min(0.01),
            shear=(uniform[4] * self.shear).clamp(-89, 89),
            aspect=width / height,
        )
        return warp(images, matrix, self.interpolation, self.fill)


class CropRotate(Augmentation):
    """R3's: now and then the centre enlarged, then always a rotation, new pixels black."""

    probability: Annotated[float, Field(ge=0, le=1)]
    """Of cropping an image."""
    crop: Annotated[int, Field(ge=1, le=28)]
    """Side of the centre crop in pixels, resized to the whole image (bilinear)."""
    rotate: Degrees
    """Degrees either way (nearest pixel, as torchvision's RandomRotation)."""

    def apply(self, images: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        batch, (height, width) = len(images), images.shape[-2:]
        uniform = torch.rand(2, batch, generator=generator, device=images.device)
        crop = min(self.crop, height, width)
        top, left = (height - crop) // 2, (width - crop) // 2
        centre = images[:, :, top : top + crop, left : left + crop]
        enlarged = F.interpolate(centre, size=(height, width), mode="bilinear", align_corners=False)
        cropped = uniform[0] < self.probability * strength
        images = torch.where(cropped.view(-1, 1, 1, 1), enlarged, images)
        zeros = torch.zeros_like(uniform[1])
        matrix = inverse_affine_matrix(
            angle=(uniform[1] * 2 - 1) * (self.rotate * strength),
            shift=torch.stack([zeros, zeros]),
            scale=zeros + 1,
            shear=zeros,
            aspect=width / height,
        )
        return warp(images, matrix, "nearest", fill=0.0)


class Elastic(Augmentation):
    """Smooth random displacement of each pixel. Source: Simard et al. 2003.

    Like torchvision's ElasticTransform, and unlike the paper, the smoothed field is not brought to
    a norm of 1 before it is multiplied by alpha, so that a larger sigma displaces less. Unlike
    torchvision's, alpha is in pixels: it is half of what gives the same there.
    """

    alpha: Annotated[float, Field(ge=0)]
    """Largest displacement in pixels, before smoothing."""
    sigma: Annotated[float, Field(gt=0, le=13)]
    """Standard deviation of the Gaussian smoothing, in pixels."""

    def apply(self, images: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        batch, (height, width) = len(images), images.shape[-2:]
        noise = torch.rand(batch, 2, height, width, generator=generator, device=images.device)
        down, along = (blur_matrix(side, self.sigma).to(images.device) for side in (height, width))
        smooth = down @ (noise * 2 - 1) @ along.mT
        # From pixels to grid_sample's coordinates, in which each side is 2 long.
        parts = zip(smooth.unbind(1), (width, height), strict=True)
        offset = torch.stack([of * (self.alpha * strength * 2 / side) for of, side in parts], -1)
        identity = F.affine_grid(
            torch.eye(2, 3, device=images.device).expand(batch, 2, 3),
            [batch, 1, height, width],
            align_corners=False,
        )
        return F.grid_sample(images, identity + offset, align_corners=False)


def inverse_affine_matrix(
    angle: Tensor, shift: Tensor, scale: Tensor, shear: Tensor, aspect: float = 1.0
) -> Tensor:
    """Output-to-input matrices for `affine_grid`, in torchvision's convention.

    angle, shear: (B,) degrees; shift: (2, B) in units of half the width and height; scale: (B,);
    aspect: width over height, so that a turned square stays one.
    Returns (B, 2, 3): the inverse of translate * rotate * shear-along-x * scale.
    """
    rotation, slant = torch.deg2rad(angle), torch.tan(torch.deg2rad(shear))
    cos, sin = torch.cos(rotation), torch.sin(rotation)
    x_to_x, y_to_x = (cos - sin * slant) / scale, (sin + cos * slant) / scale / aspect
    x_to_y, y_to_y = -sin / scale * aspect, cos / scale
    dx, dy = shift
    rows = [
        torch.stack([x_to_x, y_to_x, -(x_to_x * dx + y_to_x * dy)], dim=1),
        torch.stack([x_to_y, y_to_y, -(x_to_y * dx + y_to_y * dy)], dim=1),
    ]
    return torch.stack(rows, dim=1)


def warp(images: Tensor, matrix: Tensor, interpolation: Interpolation, fill: float) -> Tensor:
    """(B, C, H, W) images resampled at matrix (B, 2, 3) * output position."""
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    if fill:
        images = images - fill
    warped = F.grid_sample(images, grid, mode=interpolation, align_corners=False)
    return warped.add_(fill) if fill else warped


@cache
def blur_matrix(size: int, sigma: float) -> Tensor:
    """(size, size): a 1-D Gaussian blur with reflecting borders, as torchvision's ElasticTransform.

    The kernel has torchvision's width, 8 * sigma + 1 pixels, made odd.
    """
    width = int(8 * sigma + 1)
    radius = (width + 1 if width % 2 == 0 else width) // 2
    radius = min(radius, size - 1)
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    matrix = torch.zeros(size, size)
    for row in range(size):
        for offset, weight in zip(offsets.tolist(), kernel, strict=True):
            column = abs(row + offset)
            matrix[row, column if column < size else 2 * (size - 1) - column] += weight
    return matrix
