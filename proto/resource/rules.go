package resource

import "google.golang.org/protobuf/reflect/protoreflect"

type rule func(m protoreflect.Message)

func rulesOf(protoreflect.FullName) []rule { return nil }
