"""What answers Kubernetes: KEDA's external scaler over gRPC, and the cost of deleting each pod.

KEDA is answered with the decisions of the control loop, or with PromQL; docs/keda.md. It may
import `scaler.loop`, for the decisions, and the rooms below; alone in `scaler` it uses gRPC.
"""
