"""YAML as people read it: in the order given, lists of words in one line, secrets shown only when asked."""

from typing import Any

import yaml

from fleetpulse.stack.alerting.target import Hidden

MASK = "<secret>"
FLOW = frozenset({"group_by", "equal", "matchers", "source_matchers", "target_matchers", "weekdays"})


def dump(document: dict[str, Any], *, show_secrets: bool) -> tuple[str, bool]:
    """The text, and whether there are secrets in the document."""
    text = yaml.dump(
        _plain(document, show_secrets=show_secrets),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100_000,
    )
    return text, _has_secrets(document)


class _Dumper(yaml.SafeDumper):
    """Without anchors: a list that two routes share is written twice."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - PyYAML's
        super().increase_indent(flow, False)


class _Flow(list[Any]):
    """A list in one line."""


def _represent_flow(dumper: yaml.SafeDumper, data: _Flow) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


_Dumper.add_representer(_Flow, _represent_flow)


def _plain(value: Any, *, show_secrets: bool) -> Any:
    """What PyYAML knows, secrets masked unless they are to be shown."""
    if isinstance(value, dict):
        return {name: _item(name, each, show_secrets=show_secrets) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, show_secrets=show_secrets) for each in value]
    if isinstance(value, Hidden):
        return str(value) if show_secrets else MASK
    return value


def _item(name: str, value: Any, *, show_secrets: bool) -> Any:
    plain = _plain(value, show_secrets=show_secrets)
    return _Flow(plain) if name in FLOW else plain


def _has_secrets(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_secrets(each) for each in value.values())
    return any(map(_has_secrets, value)) if isinstance(value, list | tuple) else isinstance(value, Hidden)
