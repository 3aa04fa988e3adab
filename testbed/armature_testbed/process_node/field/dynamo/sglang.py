"""`python3 -m dynamo.sglang` in a pod of a process node: Armature's counterpart takes its place."""

from armature_testbed.process_node.field_command import main

__all__: list[str] = []

if __name__ == "__main__":
    main("sglang")
