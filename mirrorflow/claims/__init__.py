"""Claims of the theory with the trials that judge them, one module a topic."""

from mirrorflow.claims import trials as trials  # whoever imports one topic has all, in one order
