"""What conditions and events say: the field's own words where it has them (dynamo-operator reference §2)."""

from __future__ import annotations

__all__ = [
    "COMPLETED",
    "DELETED",
    "DELETED_EVENT",
    "DISCOVERING",
    "FOREIGN_IMAGE",
    "GENERATED",
    "GENERATED_TO_READ",
    "INITIALIZED",
    "INLINE",
    "JOB_CREATED",
    "JOB_GONE",
    "NOT_OURS",
    "NO_HARDWARE",
    "POINT_REFUSED",
    "RUNNING",
    "SPEC_CHANGE_REJECTED",
    "VALIDATED",
]

INITIALIZED = "DGDR initialized successfully"
VALIDATED = "DGDR spec validation passed"
DISCOVERING = "Discovering GPU hardware and preparing profiling job"
JOB_CREATED = "Profiling job created"
RUNNING = "Profiling is in progress"
COMPLETED = "Profiling job completed successfully"
GENERATED = "DynamoGraphDeployment spec generated successfully"
GENERATED_TO_READ = "Generated spec is available in annotation nvidia.com/generated-dgd-spec"
SPEC_CHANGE_REJECTED = (
    "Cannot modify spec in phase '{phase}'. DynamoGraphDeploymentRequest is immutable once profiling starts. "
    "Create a new resource with a different name instead."
)
NO_HARDWARE = (
    "GPU hardware info required but auto-discovery failed. Verify DCGM exporter is reachable from the operator's "
    "namespace, or set spec.hardware.{gpuSku,vramMb,numGpusPerNode} explicitly."
)
DELETED = "Deployment was deleted by user. Create a new DGDR to redeploy."
DELETED_EVENT = (
    "DGD {name} was deleted. DGDR will not recreate it. Delete this DGDR and create a new one to redeploy."
)

# Ours.
INLINE = "Profiling in the operator itself (its setting profiling: inline); no Job is made"
JOB_GONE = (
    "the profiling job was deleted before it had a result; delete this DGDR and create it again to profile"
)
FOREIGN_IMAGE = (
    "The profiling job runs this operator's own image; of spec.image {image} the registry and the tag are taken for "
    "the graph's runtime images, a digest is not"
)
NOT_OURS = (
    "a DynamoGraphDeployment named {name} is there already and does not belong to this request; delete it, or give "
    "another name in spec.overrides.dgd.metadata.name"
)
POINT_REFUSED = (
    "Point {point} is not applied: the graph is deployed. Delete DynamoGraphDeployment {graph} and this DGDR, and "
    "create the DGDR again with autoApply: false to choose first; or apply that point's graph yourself"
)
