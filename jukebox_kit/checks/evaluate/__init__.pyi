from .report import evaluate as evaluate
