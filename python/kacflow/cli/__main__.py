"""``python -m kacflow.cli``, and what ``torchrun`` starts."""

from kacflow.cli import main
from kacflow.training.processes import leave

leave(main())
