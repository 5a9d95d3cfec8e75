"""Errors that someone made by hand and the tests once missed: each is one exact change of the text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Named:
    """``before`` stands once in ``module`` (a path below ``src``)."""

    name: str
    module: str
    before: str
    after: str


NAMED = (
    Named("the sign of the reward", "vist3a/alignment/align.py", "-total.mean() * share", "total.mean() * share"),
    Named(
        "the generative weight is ignored in the gradient", "vist3a/alignment/align.py",
        "(settings.generative_weight * part).backward()", "part.backward()",
    ),
    Named(
        "every step starts from the same noise", "vist3a/alignment/align.py",
        "settings.seed + step + APART * number", "settings.seed + APART * number",
    ),
    Named(
        "every step draws the same noise along the way", "vist3a/alignment/align.py",
        "step_generators(own, seeds)", "step_generators(own, [settings.seed] * len(own))",
    ),
    Named(
        "every step of the schedule has the same weight", "vist3a/alignment/reward_gradient.py",
        "float(path.coefficients[k])", "float(path.coefficients[0])",
    ),
    Named(
        "the ridge is chosen on the clips that were fitted", "vist3a/stitching/search.py",
        "ridge, solution = _best_ridge(path, selection, name, ridges)", "ridge, solution = _best_ridge(path, fit, name, ridges)",
    ),
    Named(
        "the ridge of the plain convolution is chosen on the clips that were fitted", "vist3a/stitching/search.py",
        "_best_ridge(plain, selection, name, ridges)", "_best_ridge(plain, fit, name, ridges)",
    ),
    Named(
        "a point that is no complete entry can win the search", "vist3a/stitching/search.py",
        "max((score for score in scores if score.complete), key", "max(scores, key",
    ),
    Named(
        "all clips are sampled with the same noise", "vist3a/stitching/tap.py",
        "_clip_generator(seed, name, self.device)", '_clip_generator(seed, "", self.device)',
    ),
    Named(
        "the teacher of distillation sees decoded frames", "vist3a/distillation/match_outputs.py",
        "teacher.trunk(frames, keep=points)", "teacher.trunk(generator.decode(latents), keep=points)",
    ),
    Named(
        "the teacher's heads see decoded frames", "vist3a/distillation/match_outputs.py",
        "teacher.heads(target_taps, size, frames)", "teacher.heads(target_taps, size, generator.decode(latents))",
    ),
    Named(
        "stitched heads see decoded frames", "vist3a/stitching/functional_error.py",
        "return decoder(generator.encode(frames), size, frames, with_gaussians)",
        "latents = generator.encode(frames)\n        return decoder(latents, size, generator.decode(latents), with_gaussians)",
    ),
    Named(
        "every clip is cut at its first view", "vist3a/distillation/match_outputs.py",
        "first = int(torch.randint(len(clips[i].frames) - views + 1, (), generator=generator))", "first = 0",
    ),
    Named(
        "gradients of the depth at one scale only", "vist3a/distillation/distill_loss.py",
        "d = difference[..., :: 2**level, :: 2**level]", "d = difference",
    ),
    Named(
        "gradients of the depth at the first scale only", "vist3a/distillation/distill_loss.py",
        "if min(d.shape[-2:]) < 2:", "if level > 0 or min(d.shape[-2:]) < 2:",
    ),
    Named(
        "scales of Gaussians are compared by their mean", "vist3a/distillation/distill_loss.py",
        "_l1(first.scales, second.scales)", "(first.scales - second.scales).mean().abs()",
    ),
    Named(
        "views and samples are mixed up in perceptual consistency", "vist3a/alignment/rewards/consistency.py",
        "distance.view(decoded.shape[:2]).mean(1)", "distance.view(decoded.shape[:2][::-1]).mean(0)",
    ),
    Named(
        "the axes of the field of view are swapped where cameras are read", "vist3a/geometry/pose_encoding.py",
        "intrinsics_from_fov(fov[..., 0], fov[..., 1], height, width)",
        "intrinsics_from_fov(fov[..., 1], fov[..., 0], height, width)",
    ),
    Named(
        "the axes of the field of view are swapped where cameras are written", "vist3a/geometry/pose_encoding.py",
        "fov_h[..., None], fov_w[..., None]", "fov_w[..., None], fov_h[..., None]",
    ),
    Named(
        "the best similarity may be a reflection", "vist3a/geometry/similarity.py",
        "sign[2] = torch.sign(torch.det(u) * torch.det(vt))", "pass",
    ),
    Named(
        "levels of noise are not counted among what holds together", "vist3a_lab/claims/verdicts.py",
        "together = among * len(figures)", "together = len(figures)",
    ),
    Named(
        "levels of noise count as one", "vist3a_lab/claims/verdicts.py", "among=len(levels)", "among=1",
    ),
    Named(
        "the unit of novel views is that of other views", "vist3a_lab/claims/errors.py",
        "list(fill_frames(tuple(sources), allowed))", "list(range(len(fill_frames(tuple(sources), allowed))))",
    ),
    Named(
        "every view has a scale of depth of its own", "vist3a_lab/claims/errors.py",
        "depth_errors(output.depth.flatten(1, 2), truth.depth.flatten(1, 2))", "depth_errors(output.depth, truth.depth)",
    ),
    Named(
        "the scale of depth is that of the other scenes", "vist3a/metrics/depth.py",
        "_median(target) / _median(prediction) if align", "_median(target) / _median(prediction).mean() if align",
    ),
    Named(
        "files are not renamed", "vist3a/runtime/atomic.py", "os.replace(temporary / path.name, path)",
        "path.write_bytes((temporary / path.name).read_bytes())",
    ),
    Named(
        "checkpoints are written in place", "vist3a/runtime/checkpoint.py",
        "with replacing(path) as partial:\n        torch.save(state, partial)", "torch.save(state, path)",
    ),
    Named(
        "signs of the first band of harmonics", "vist3a/geometry/spherical_harmonics.py",
        "[-0.48860251190292 * y, 0.48860251190292 * z, -0.48860251190292 * x]",
        "[0.48860251190292 * y, 0.48860251190292 * z, 0.48860251190292 * x]",
    ),
    Named(
        "order of the first band of harmonics", "vist3a/geometry/spherical_harmonics.py",
        "[-0.48860251190292 * y, 0.48860251190292 * z, -0.48860251190292 * x]",
        "[-0.48860251190292 * x, -0.48860251190292 * y, 0.48860251190292 * z]",
    ),
    Named(
        "sign of one harmonic of the third band", "vist3a/geometry/spherical_harmonics.py",
        "            1.445305721320277 * z * sin2,", "            -1.445305721320277 * z * sin2,",
    ),
    Named(
        "two harmonics of the second band are swapped", "vist3a/geometry/spherical_harmonics.py",
        "            0.5462742152960395 * sin2,\n            -1.092548430592079 * y * z,",
        "            -1.092548430592079 * y * z,\n            0.5462742152960395 * sin2,",
    ),
    Named(
        "order of the fourth band of harmonics", "vist3a/geometry/spherical_harmonics.py",
        "inner * cos2,\n            -1.770130769779931 * z * cos3,", "-1.770130769779931 * z * cos3,\n            inner * cos2,",
    ),
)  # fmt: skip
