from .report import listen as listen
