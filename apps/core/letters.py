"""Letters: mails of one template each, as text and as HTML, sent by Django's mail backend."""

from __future__ import annotations

from typing import Any

from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string


def send_letter(name: str, *, to: str, context: dict[str, Any]) -> None:
    """Mail `templates/mail/<name>.txt`, whose first line is the subject, and its `.html`."""
    subject, _, text = render_to_string(f"mail/{name}.txt", context).partition("\n")
    letter = EmailMultiAlternatives(
        subject=" ".join(subject.split()),  # a name with a line break must not add a header
        body=text.strip() + "\n",
        to=[to],
    )
    letter.attach_alternative(render_to_string(f"mail/{name}.html", context), "text/html")
    letter.send()
