"""What answers Kubernetes: KEDA's external scaler over gRPC, and the cost of deleting each pod.

KEDA is answered with the decisions of the control loop, or with PromQL; docs/keda.md. Alone in
`scaler` this room uses gRPC. It imports `loop` for the decisions, `policy` and `prometheus`.
"""
