"""The doctor: what is wrong with a training, on the evidence of its own numbers, and what to try."""

from backpass.doctor.diagnosis import Diagnosis, Treated, diagnose
from backpass.doctor.findings import Finding
from backpass.doctor.remedies import Remedy

__all__ = ["Diagnosis", "Finding", "Remedy", "Treated", "diagnose"]
