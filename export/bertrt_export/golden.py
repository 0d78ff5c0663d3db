"""The texts whose logits travel with every artifact."""

__all__ = ["GOLDEN_TEXTS"]

GOLDEN_TEXTS: tuple[str | tuple[str, str], ...] = (
    "",
    "good",
    "A gorgeous, witty, seductive movie.",
    "It's so laddish and juvenile, only teenage boys could possibly find it funny.",
    "I ordered two weeks ago, the parcel still has not arrived, and nobody answers my e-mails!",
    "¿Dónde está la biblioteca? Ça va très bien, merci; Grüße aus Köln.",
    "这部电影非常好看 👍🏽 — 本当に面白かった。",
    ("A man is playing a guitar on stage.", "Nobody is making any music."),
    " ".join(["the film is long , and it does not get any shorter while one watches it ,"] * 12),
)
