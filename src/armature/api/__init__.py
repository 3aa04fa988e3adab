"""The API as types: read a user's file, default it, judge it, convert it, write it.

Layer 1. `load_*` read files strictly and report every problem at once; `parse_tolerant` reads an API server's
objects and keeps what it does not know. Every room above works on v1beta1 (`to_v1beta1`); an
API server asks for either version (`convert_review`). The CustomResourceDefinitions are in `api.crds`.
"""

from __future__ import annotations

from armature.api import v1alpha1, v1beta1
from armature.api.checkpoint import DynamoCheckpoint
from armature.api.convert import convert_object, convert_review, to_v1beta1
from armature.api.defaults import default_request
from armature.api.load import check, load_documents, load_file, load_one
from armature.api.meta import Foreign, Metadata
from armature.api.models import DynamoModel
from armature.api.parse import Resource, parse_tolerant, to_dict
from armature.api.planner_keys import planner_enabled, planner_settings
from armature.api.skus import SKUS, sku_hint
from armature.api.validate import validate, warnings_of
from armature.api.write import to_yaml, to_yaml_documents

__all__ = [
    "SKUS",
    "DynamoCheckpoint",
    "DynamoModel",
    "Foreign",
    "Metadata",
    "Resource",
    "check",
    "convert_object",
    "convert_review",
    "default_request",
    "load_documents",
    "load_file",
    "load_one",
    "parse_tolerant",
    "planner_enabled",
    "planner_settings",
    "sku_hint",
    "to_dict",
    "to_v1beta1",
    "to_yaml",
    "to_yaml_documents",
    "v1alpha1",
    "v1beta1",
    "validate",
    "warnings_of",
]
