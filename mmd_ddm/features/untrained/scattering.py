"""Wavelet scattering of orders 0, 1 and 2 (Mallat 2012; Bruna and Mallat 2013)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmd_ddm.features.untrained.morlet import ORIENTATIONS, low_pass, morlet
from mmd_ddm.features.untrained.statistics import LEVEL, Statistics, octaves, opponent

_FINEST, _COARSEST = 2, 4
_CELLS = (4, 2, 1)  # a side, by order: what has more paths is averaged over more of the image
_CORNER = 1e-6  # modulus is sqrt(re^2 + im^2 + this)


class Scattering(Statistics):
    """Averages of x, |x * psi| and ||x * psi| * psi'| over an image, the last two as logarithms.

    Wavelets have eight directions and J octaves: two for 16 pixels a side, three for 32, four from 64 on. Only paths
    to coarser scales are followed, the others hold next to nothing. Averages are those of the low-pass filter of scale
    2^J, meant over cells of 4 x 4, 2 x 2 and 1 x 1 an image. The second order is of the luminance, which alone has
    fine structure to speak of, and taken relative to the first, log S2 - log S1 (Anden and Mallat 2014), so that it
    tells of arrangement and not of contrast again.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        channels, self.side, _ = image_shape
        self.scales = min(max(octaves(self.side) - 2, _FINEST), _COARSEST)
        one = channels * self.scales * ORIENTATIONS
        two = self.scales * (self.scales - 1) // 2 * ORIENTATIONS**2
        super().__init__((channels * _CELLS[0] ** 2, one * _CELLS[1] ** 2, two * _CELLS[2] ** 2))
        unit = 2**self.scales
        self.padded = (-(-self.side // unit) + 2) * unit
        self.before = (self.padded - self.side) // 2 // unit * unit or unit
        for j in range(self.scales):
            size = self.padded >> j
            for step in range(self.scales - j):
                # for real and imaginary parts apart, which is many times as fast as real times complex numbers
                self.fixed(f"wavelets{size}_{step}", morlet(size, step)[..., None].repeat(1, 1, 1, 2) / 4**step)
            for cells in set(_CELLS):
                self.fixed(f"window{size}_{cells}", self._window(j, cells))

    def forward(self, images: Tensor) -> Tensor:
        """Return N x D coefficients of N x C x H x W images, order after order."""
        planes, after = opponent(images), self.padded - self.side - self.before
        x = nn.functional.pad(planes, (self.before, after) * 2, "reflect")
        zero, one, two = [self._averaged(x, _CELLS[0]).flatten(1)], [], []
        spectrum = torch.fft.fft2(x)
        for j in range(self.scales):
            u = self._filtered(spectrum, 0, j)
            one.append((self._averaged(u, _CELLS[1]) + LEVEL).log().flatten(1))
            if j + 1 == self.scales:
                continue
            u = u[:, 0]  # luminance
            below = (self._averaged(u, _CELLS[2]) + LEVEL).log()[:, :, None]
            inner = torch.fft.fft2(u)
            for step in range(1, self.scales - j):
                over = (self._averaged(self._filtered(inner, j, step), _CELLS[2]) + LEVEL).log()
                two.append((over - below).flatten(1))
        return torch.cat([*zero, *one, *two], dim=1)

    def _filtered(self, spectrum: Tensor, j: int, step: int) -> Tensor:
        """Return |x * psi| with eight wavelets, at every 2^step-th place: ... x 8 x S/2^step x S/2^step."""
        size = spectrum.shape[-1]
        product = torch.view_as_real(spectrum).unsqueeze(-4) * self.get_buffer(f"wavelets{size}_{step}")
        for _ in range(step):  # what is not kept of the places is folded in frequency
            upper, lower = product.chunk(2, -3)
            left, right = (upper + lower).chunk(2, -2)
            product = left + right
        found = torch.fft.ifft2(torch.view_as_complex(product))
        modulus: Tensor = (found.real.square() + found.imag.square() + _CORNER).sqrt()
        return modulus

    def _averaged(self, u: Tensor, cells: int) -> Tensor:
        window = self.get_buffer(f"window{u.shape[-1]}_{cells}")
        averaged: Tensor = window.T @ u @ window
        return averaged

    def _window(self, j: int, cells: int) -> Tensor:
        """Return the weights of the places of a line, 2^j pixels apart, in the low-passed means of cells: P x cells."""
        size = self.padded >> j
        at = torch.arange(size) * 2**j - self.before
        cell = torch.where((at >= 0) & (at < self.side), at * cells // self.side, cells)
        comb = nn.functional.one_hot(cell, cells + 1)[:, :cells].double()
        comb /= comb.sum(0)
        spectrum = torch.fft.fft(comb, dim=0) * low_pass(size, self.scales - j)[:, None]
        window: Tensor = torch.fft.ifft(spectrum, dim=0).real
        return window
