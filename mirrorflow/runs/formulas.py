"""Formulas in plain text, such as x_t ≤ e^(−4A)‖x₀‖, as LaTeX's mathematics.

Words stand by themselves; what is between two of them is a formula where it has a letter or sign.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["typeset"]

FUNCTIONS = {name: rf"\{name}" for name in ("log", "min", "max", "exp", "ker")}
OTHERS = ("argmin", "arcsinh", "diag", "margin", "Var", "KL")
FUNCTIONS |= {name: rf"\mathrm{{{name}}}" for name in OTHERS}
PAIRS = ("Zx", "LA", "Ht", "df", "dt", "ds", "dx")  # two letters that are no word
WORD = re.compile(
    rf"(?!(?:{'|'.join((*FUNCTIONS, *PAIRS))})(?![A-Za-z]))(?<![\w^])"
    r"(?:L[12]|[A-Za-z]{2,}(?:_\w{2,})+|[A-Za-z][A-Za-z'’-]*[A-Za-z]\d*)(?![\w^])"
    r"|'s\b|(?<= )\(\d\.\d\)|(?<=Figure )\d\w"  # theorems and figures by their numbers
)
BREAK = re.compile(r"([,:;.] )(?![^(\[{⟨]*[)\]}⟩])")  # outside brackets
SIGN = re.compile(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])|[=<>^_|~+*]|[^\x00-\x7F–—…‘’“”]")
GROUP = r"\{([^{}]*)\}"
BRACKETS = r"\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)"
# what pylatexenc doesn't know, or says outside mathematics
SIGNS = {"→": r"\to ", "·": r"\cdot ", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "−": "-"}
SIGNS |= {"±": r"\pm ", "∣": "|", "‖": r"\|", "∥": r"\|", "~": r"\sim ", "′": "'", "″": "''"}
SIGNS |= {
    "Σ": r"\sum ",
    "Π": r"\prod ",
    "⟨": r"\langle ",
    "⟩": r"\rangle ",
    "⊙": r"\odot ",
    "ℓ": r"\ell ",
}
SIGNS |= {"≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "∞": r"\infty ", "∝": r"\propto "}
MARKS = {"\u0304": "bar", "\u0307": "dot", "\u0308": "ddot", "\u0302": "hat", "\u0303": "tilde"}
RAISED, LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿᵀ", "₀₁₂₃₄₅₆₇₈₉"
PLAIN = str.maketrans(RAISED + LOWERED, "0123456789+−nT0123456789")


def typeset(text: str) -> str:
    """Text as LaTeX, its formulas between dollars; all of it is ASCII.

    Parameters
    ----------
    text : str
        With _i, _max and ^(…) for what is lowered and raised, or with raised and lowered digits.

    Returns
    -------
    str

    Examples
    --------
    >>> print(typeset("depth L: Zẋ → 0, like e^(−2LA)‖x₀‖²"))
    depth $L$: $Z\\dot{x} \\to 0$, like $e^{-2LA}\\|x_{0}\\|^{2}$
    """
    parts, end = [], 0
    for word in WORD.finditer(text):
        parts += [_between(text[end : word.start()], False), _plain(word[0])]
        end = word.end()
    return "".join([*parts, _between(text[end:], True)])


def _between(text: str, last: bool) -> str:
    """What stands between two words: formulas, and the punctuation and spaces around them."""
    parts = BREAK.split(text)
    return "".join(_formula(part, last and part is parts[-1]) for part in parts)


def _formula(text: str, last: bool) -> str:
    core = text.strip(" ,;:.")
    while core and core.count("(") != core.count(")"):  # around words, or a slip
        core = core[1:] if core.count("(") > core.count(")") and core[0] == "(" else core[:-1]
        core = core.strip(" ,;:.")
    if core.endswith(" a") and not last:  # the article of the next word
        core = core[:-2]
    number = re.fullmatch(r"[\d.]+(e[+-]?\d+)?", core)
    article = text == "A " or (core == "a" and not last)
    if number or article or not SIGN.search(core) or re.search(r"[$%#&\\]", core):
        return _plain(text)
    before, _, after = text.partition(core)
    return f"{_plain(before)}${_mathematics(core)}${_plain(after)}"


def _mathematics(text: str) -> str:
    text = "".join(map(_apart, text)).replace("{", r"\{").replace("}", r"\}")
    text = re.sub(r"\b1e-0?(\d+)", r"10^(−\1)", text)
    text = re.sub(f"([{RAISED}]+)", r"^(\1)", text)
    text = re.sub(f"([{LOWERED}]+)", r"_(\1)", text).translate(PLAIN)
    text = re.sub(r"_([aA])\(([t∞0])\)(/2)?", r"_(\1(\2)\3)", text)  # R of a scale that moves
    text = re.sub(r"_(max|min|jk|[^(])", r"_(\1)", text)
    text = re.sub(r"\^([−+]?(?:\d+(?:\.\d+)?|[^(]))", r"^(\1)", text)
    text = re.sub(r"(?<=[\w)\u0302])\*", "^(*)", text)
    text = re.sub(r"√([^(]″?)", r"√(\1)", text)
    text = re.sub(f"(.)([{''.join(MARKS)}])", lambda m: rf"\{MARKS[m[2]]}{{{m[1]}}}", text)
    text = _grouped(text).replace("√", r"\sqrt")
    for kind in r"_^":  # two in a row are one
        text = re.sub(rf"(\{kind}){GROUP}\{kind}{GROUP}", r"\1{\2\3}", text)
    names = rf"(?<![A-Za-z\\])({'|'.join(FUNCTIONS)})(?![A-Za-z])( ?)"
    text = re.sub(names, lambda m: FUNCTIONS[m[1]] + (r"\," if m[2] else ""), text)
    text = re.sub(" +", " ", "".join(map(_sign, text))).strip()
    return re.sub(r"(\\[A-Za-z]+) (?=[_^(){}\],/'])", r"\1", text)


def _grouped(text: str) -> str:
    """Brackets after ^, _ and √ as braces."""
    return re.sub(rf"([\^_√]){BRACKETS}", lambda m: f"{m[1]}{{{_grouped(m[2])}}}", text)


def _apart(letter: str) -> str:
    """A letter and its mark apart, where the mark is one of ours."""
    apart = unicodedata.normalize("NFD", letter)
    return apart if apart[-1] in MARKS else letter


def _sign(letter: str) -> str:
    if letter in SIGNS or letter.isascii():
        return SIGNS.get(letter, letter)
    return re.sub(r"\\ensuremath\{(.*)\}", r"\1 ", _plain(letter))


def _plain(text: str) -> str:
    from pylatexenc.latexencode import UnicodeToLatexEncoder

    return UnicodeToLatexEncoder(unknown_char_warning=False).unicode_to_latex(text)
