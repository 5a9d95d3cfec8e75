"""The measurements as a text that a person reads before anything is downloaded."""

from __future__ import annotations

from vist3a_app.rehearsal.run import Rehearsal

# What helps where a stage does not fit.
HELP = {
    "embed": "networks.device=cpu for this stage: texts are embedded once and kept",
    "extract": "fewer candidate points (extract.kinds)",
    "score": "a smaller extract.kernel",
    "distill": "distill.batch=1 and distill.gradient_checkpointing=true",
    "align": "align.prompts_per_step=1, align.clips_per_step=1, align.gradient_checkpointing=true, align.frames_apart=true, "
    "align.views_at_once=1, align.clips_at_once=1",
    "generate": "generate.offload=parts, then layers; generate.tiling=true",
}


def as_table(rehearsal: Rehearsal) -> str:
    """Rows of stages, then what would be downloaded, then whether it fits."""
    lines = [f"{'stage':18} {'seconds':>8} {'device GiB':>11} {'host GiB':>9}  note"]
    lines += [
        f"{name:18} {s.seconds:8.1f} {s.device_gib:11.1f} {s.host_gib:9.1f}  {s.note}"
        for name, s in rehearsal.stages.items()
    ]
    where = rehearsal.device + (f" ({rehearsal.device_gib:.0f} GiB)" if rehearsal.device_gib else "")
    gigabytes = rehearsal.download_bytes / 1e9
    lines.append(f"to download {gigabytes:.1f} GB, disk needed {rehearsal.disk_bytes / 1e9:.1f} GB")
    failed = [name for name, stage in rehearsal.stages.items() if not stage.done]
    if not failed:
        lines.append(f"fits on {where}")
    lines += [f"{name} does not fit on {where}, use {HELP.get(name, 'a GPU with more memory')}" for name in failed]
    return "\n".join(lines)
