"""What a person or a script sees of a Profile: `terminal` prints it, `views` shapes it as JSON.

Stands beside `graph`: it reads the Profile and decides nothing; every number it shows is one the search made.
"""

from armature.report.picture import front_picture
from armature.report.table import candidate_named, front_table
from armature.report.terminal import print_plan
from armature.report.views import plan_json, points_json

__all__ = ["candidate_named", "front_picture", "front_table", "plan_json", "points_json", "print_plan"]
