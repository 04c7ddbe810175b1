"""The panels of the dashboard, drawn from its queries: for where Grafana cannot run."""

import html
import math

from files import dashboard

WIDTH, HEIGHT, UNIT = 1280, 1340, 12
COLOURS = ["#3274d9", "#d9822b", "#37872d", "#c4162a", "#8f3bb8", "#0a7c86", "#8a6d00", "#5b6470"]
STYLE = f"""
body {{ margin: 0; font: 11px sans-serif; color: #24292e; background: #f4f5f5; width: {WIDTH}px }}
h1 {{ font-size: 15px; margin: 6px 8px }}
#board {{ position: relative }}
#board > * {{ position: absolute; box-sizing: border-box; overflow: hidden }}
.row {{ font-weight: bold; padding: 0 8px; line-height: 12px }}
.panel {{ background: #fff; border: 1px solid #dcdfe3; padding: 1px 6px }}
.panel b {{ font-weight: 600 }}
.value {{ font-size: 20px; margin-right: 10px }}
svg {{ position: absolute; left: 6px; bottom: 3px }}
.legend {{ position: absolute; right: 4px; bottom: 2px; width: 48%; line-height: 11px; font-size: 10px; white-space: nowrap }}
"""


def read(ask, job, begin, end):
    """The panels, each with its series in this time: their legends and values."""
    found = []
    for panel in dashboard()["panels"]:
        series = []
        for target in panel.get("targets", []):
            query = target["expr"]
            for variable, value in {"$job": job, "$instance": ".+", "$__rate_interval": "5s"}.items():
                query = query.replace(variable, value)
            for result in ask("query_range", query=query, start=begin, end=end, step="1s")["result"]:
                points = [(float(at), float(value)) for at, value in result["values"]]
                series.append((legend(target["legendFormat"], result["metric"]), points))
        found.append((panel, series))
    return found


def empty(panels):
    """Titles of panels that show nothing."""
    return {panel["title"] for panel, series in panels if panel["type"] != "row" and not series}


def legend(form, labels):
    for name, value in labels.items():
        form = form.replace("{{" + name + "}}", value)
    return form


def page(title, panels, begin, end, fault):
    areas = [panel["gridPos"] for panel, _ in panels]
    height = max(area["y"] + area["h"] for area in areas) * UNIT
    body = "".join(drawn(panel, series, begin, end, fault) for panel, series in panels)
    title = html.escape(title)
    return (
        f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
        f'<h1>{title}</h1><div id=board style="height:{height}px">{body}</div>'
    )


def drawn(panel, series, begin, end, fault):
    area, column = panel["gridPos"], WIDTH / 24
    width, height = area["w"] * column - 4, area["h"] * UNIT - (0 if panel["type"] == "row" else 4)
    place = f"left:{area['x'] * column + 2:.0f}px;top:{area['y'] * UNIT}px;width:{width:.0f}px;height:{height}px"
    title = html.escape(panel["title"])
    if panel["type"] == "row":
        return f'<div class=row style="{place}">{title}</div>'
    defaults = panel["fieldConfig"]["defaults"]
    inside = values(series, defaults) if panel["type"] == "stat" else lines(series, defaults["unit"], (width, height), (begin, end, fault))
    return f'<div class=panel style="{place}"><b>{title}</b>{inside}</div>'


def values(series, defaults):
    def colour(value):
        steps = defaults["thresholds"]["steps"]
        return next(step["color"] for step in reversed(steps) if step["value"] is None or value >= step["value"])

    shown = [(name, points[-1][1]) for name, points in series]
    spans = (
        f'<span class=value style="color:{colour(value)}">{text(value, defaults["unit"])}</span>{html.escape(name)} &nbsp; '
        for name, value in shown
    )
    return f"<div>{''.join(spans)}</div>"


def lines(series, unit, size, moments):
    """A line for each series, and a legend with the last values, the greatest first. A dashed line is where the fault begins."""
    (width, height), (begin, end, fault) = size, moments
    wide, tall = width * 0.5, height - 20
    known = [value for _, points in series for _, value in points if value == value and abs(value) != float("inf")]
    top, low = max([*known, 0]) or 1, min([*known, 0])
    series = sorted(series, key=lambda it: -last(it[1]))
    drawn, named = [], []
    for number, (name, points) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        at = [
            f"{(moment - begin) / (end - begin) * wide:.1f},{tall - (value - low) / (top - low) * tall:.1f}"
            for moment, value in points
            if value == value and abs(value) != float("inf")
        ]
        drawn.append(f'<polyline points="{" ".join(at)}" fill=none stroke="{colour}" stroke-width=1.3 />')
        named.append(f'<div><span style="color:{colour}">&#9644;</span> {text(last(points), unit)} {html.escape(name)}</div>')
    across = (fault - begin) / (end - begin) * wide
    axis = f'<path d="M{across:.1f} 0V{tall}" stroke="#c4162a" stroke-dasharray="2 2" />'
    axis += f'<path d="M0 0V{tall}H{wide}" fill=none stroke="#c7ccd1" /><text x=3 y=9 font-size=9 fill="#7b8087">{text(top, unit)}</text>'
    svg = f'<svg width="{wide:.0f}" height="{tall}" viewBox="0 -1 {wide:.0f} {tall + 2}">{axis}{"".join(drawn)}</svg>'
    return f"{svg}<div class=legend>{''.join(named[: int(tall / 11)])}</div>"


def last(points):
    """The last value, and less than any if that is no number."""
    value = points[-1][1]
    return value if value == value else -math.inf


def text(value, unit):
    if value == -math.inf:
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    if unit == "s":
        for least, divisor, name in ((86400, 86400, "d"), (3600, 3600, "h"), (1, 1, "s"), (0.001, 0.001, "ms")):
            if abs(value) >= least:
                return f"{value / divisor:.3g} {name}"
        return f"{value * 1e6:.3g} µs" if value else "0"
    return f"{value:.3g}{'/s' if unit == 'reqps' else ''}"
