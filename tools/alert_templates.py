"""Prints alertmanager/templates/messages.tmpl: what Alertmanager tells people, in English, Chinese or both.

Alertmanager's templates take one argument and call each other by fixed names, so each language needs templates of
its own; they are made here from one source, alert_messages.tmpl.j2, where [[ ]] and <% %> are this tool's. Sizes
are bounded there: Discord and Telegram take 4096 characters, WeChat Work 2048 bytes, an SMS is best short; a
message says less rather than being cut or refused. A test compares the file with what this prints.
"""

import sys
from pathlib import Path

import jinja2

SOURCE = Path(__file__).with_name("alert_messages.tmpl.j2")
WORDS = {
    "en": {
        "firing": "firing",
        "resolved": "resolved",
        "pool": "pool",
        "stream": "stream",
        "since": "since",
        "todo": "what to do",
        "dashboard": "dashboard",
        "in_all": "in all",
        "rest": "the rest are in Alertmanager",
        "critical": "critical",
        "warning": "warning",
        "info": "info",
    },
    "zh": {
        "firing": "条告警",
        "resolved": "已恢复",
        "pool": "机器人池",
        "stream": "消息流",
        "since": "开始于",
        "todo": "处理办法",
        "dashboard": "仪表盘",
        "in_all": "共",
        "rest": "其余见 Alertmanager",
        "critical": "严重",
        "warning": "警告",
        "info": "提示",
    },
}
BOTH = {name: f"{word} {WORDS['zh'][name]}" for name, word in WORDS["en"].items()}
SLACK = ' | reReplaceAll "&" "&amp;" | reReplaceAll "<" "&lt;" | reReplaceAll ">" "&gt;"'
STYLE = "font-family:-apple-system,Segoe UI,PingFang SC,Microsoft YaHei,sans-serif;font-size:14px;color:#1f2328"
CELL = "padding:6px 12px 6px 0;vertical-align:top;border-top:1px solid #d0d7de"


def page() -> str:
    """The whole file."""
    environment = jinja2.Environment(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - it is Go templates that are made; Alertmanager escapes what becomes HTML
        keep_trailing_newline=True,
    )
    source = environment.from_string(SOURCE.read_text("utf-8"))
    return source.render(words=WORDS | {"both": BOTH}, slack=SLACK, style=STYLE, cell=CELL)


if __name__ == "__main__":
    sys.stdout.write(page())
