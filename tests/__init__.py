"""The suite; what checks shapes has to be there before the packages that it checks."""

from tests import shapes as shapes
