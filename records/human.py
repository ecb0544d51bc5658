"""Readable sizes, durations and fractions."""


def human_time(seconds: float) -> str:
    """Format a duration: 4.2 s, 45 s, 12 min, 3 h 20 min, 5 d 4 h, 5.8 years."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h" if hours < 365 * 24 else f"{hours / (365 * 24):.1f} years"


def human_size(size_bytes: float) -> str:
    """Format a size: 210 MB, 1.3 GB."""
    for unit in ("B", "KB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"


def human_percent(fraction: float) -> str:
    """Format a fraction in whole percent: 12 %."""
    return f"{100 * fraction:.0f} %"
