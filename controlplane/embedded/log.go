package embedded

import (
	"context"
	"fmt"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZapLogger is a zap logger that writes to slog.
func newZapLogger(logger *slog.Logger) *zap.Logger {
	return zap.New(
		&core{logger: logger},
		zap.WithFatalHook(crash{}),
		zap.WithPanicHook(crash{}),
		zap.ErrorOutput(zapcore.AddSync(discard{})),
	)
}

// core passes zap's entries on to slog.
type core struct {
	logger *slog.Logger
}

// slogLevel puts etcd's information, of which there are dozens of lines at each
// start, one level down.
func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// expected tells the complaints that every ordinary start of a lone member that
// listens nowhere makes; they are information here. (The storage version is
// written at the second attempt, when the first snapshot has a term.)
func expected(message string) bool {
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.",
		"simple token is not cryptographically signed",
		"Failed to detect schema version",
		"failed to update storage version":
		return true
	}
	return false
}

func (c *core) Enabled(l zapcore.Level) bool {
	return c.logger.Enabled(context.Background(), slogLevel(l))
}

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{logger: slog.New(c.logger.Handler().WithAttrs(attrs(fields)))}
}

func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if expected(e.Message) {
		e.Level = zapcore.InfoLevel
	}
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	record := slog.NewRecord(e.Time, slogLevel(e.Level), "etcd: "+e.Message, 0)
	record.AddAttrs(attrs(fields)...)
	return c.logger.Handler().Handle(context.Background(), record)
}

func (c *core) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc)
		// A field is one value, or two for an error with details.
		if v, ok := enc.Fields[f.Key]; ok {
			out = append(out, slog.Any(f.Key, v))
		}
	}
	return out
}

// crash takes the place of zap's exit of the process, which only main may do.
// The panic says why; at the start it becomes Start's error.
type crash struct{}

func (crash) OnWrite(ce *zapcore.CheckedEntry, fields []zapcore.Field) {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			panic(fmt.Errorf("%s: %w", ce.Message, err))
		}
	}
	panic(fmt.Errorf("%s", ce.Message))
}

// discard is where zap complains of a log that cannot be written.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
