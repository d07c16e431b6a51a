package hmp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// Prompt is what asks for a line.
const Prompt = "(qemu) "

// Serve lets one user type commands, until the stream or ctx ends. It closes rwc,
// whose Close must make a blocked Read and Write return. Its error is the stream's,
// nil if that just ended or the user went away.
func (m *Monitor) Serve(ctx context.Context, rwc io.ReadWriteCloser) error {
	stop := context.AfterFunc(ctx, func() { rwc.Close() })
	defer rwc.Close()
	defer stop()
	err := m.serve(ctx, rwc)
	for _, end := range []error{io.EOF, net.ErrClosed, os.ErrClosed, syscall.EPIPE, syscall.ECONNRESET} {
		if ctx.Err() != nil || errors.Is(err, end) {
			return nil
		}
	}
	return err
}

// settler is a connection that knows when what it took is written.
type settler interface{ Settle(ctx context.Context) }

func (m *Monitor) serve(ctx context.Context, rw io.ReadWriter) error {
	if _, err := fmt.Fprintf(rw, "QEMU %s monitor - type 'help' for more information\r\n", m.version(ctx)); err != nil {
		return err
	}
	s := m.NewSession()
	line := NewLineReader(rw, Prompt, func(line string) []string { return s.Complete(ctx, line) })
	s.history = line.History
	for {
		text, err := line.Read()
		if err != nil {
			return err
		}
		if w, ok := rw.(settler); ok {
			w.Settle(ctx) // a command may print where we do
		}
		if _, err := io.WriteString(line, s.Execute(ctx, text)); err != nil || ends(text) {
			return err
		}
	}
}

// ends tells whether a line ends the VM, so that nothing more is asked for.
func ends(line string) bool {
	word := strings.TrimSpace(line)
	return word == "quit" || word == "q"
}

// version returns the version that the banner tells.
func (m *Monitor) version(ctx context.Context) string {
	c := call{Session: m.NewSession(), ctx: ctx}
	if c.infoVersion() != nil {
		return "7.2.0"
	}
	v := c.out.String()
	end := strings.IndexFunc(v, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	return v[:max(end, 0)]
}

// historyLength is how many lines are remembered.
const historyLength = 64

// LineReader reads lines with editing, history and completion. It belongs to one
// goroutine, but for Write.
type LineReader struct {
	t        *term.Terminal
	prompt   string
	keyboard *keyboard
	lines    history
	complete func(line string) []string
}

// NewLineReader returns a reader on a terminal in raw mode. complete returns what the
// last word of a line may become.
func NewLineReader(rw io.ReadWriter, prompt string, complete func(line string) []string) *LineReader {
	k := &keyboard{ReadWriter: rw, keys: monitorKeys}
	l := &LineReader{prompt: prompt, t: term.NewTerminal(k, prompt), keyboard: k, complete: complete}
	l.t.History = &l.lines
	l.t.AutoCompleteCallback = l.key
	_ = l.t.SetSize(lineWidth, 1) // before anything is shown this cannot fail
	return l
}

// lineWidth is how long a line may be before it is broken. The other side's width is
// not known, and line ends that nobody typed confuse programs that read the echo.
const lineWidth = 4096

// Read returns the next line.
func (l *LineReader) Read() (string, error) { return l.t.ReadLine() }

// Write prints beside the line being edited.
func (l *LineReader) Write(p []byte) (int, error) { return l.t.Write(p) }

// EndOnCtrlD makes Read return io.EOF for Ctrl-C, and for Ctrl-D on an empty line.
// Without that both do no harm, as is right where there is no way back.
func (l *LineReader) EndOnCtrlD() { l.keyboard.keys = shellKeys }

// History returns the lines read so far, the oldest first.
func (l *LineReader) History() []string { return slices.Clone(l.lines) }

// key handles the key for completion.
func (l *LineReader) key(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' {
		return "", 0, false
	}
	head := line[:pos]
	from := strings.LastIndexAny(head, spaces) + 1
	list := l.complete(head)
	if len(list) == 0 {
		return line, pos, true
	}
	word := commonPrefix(list)
	if len(list) == 1 && !strings.HasSuffix(word, "/") && !strings.HasSuffix(word, "=") {
		word += " "
	}
	if len(list) > 1 && len(word) <= len(head)-from {
		_, _ = io.WriteString(l.t, l.prompt+line+"\n"+columns(list)) // Read tells of what is wrong with the stream
		return line, pos, true
	}
	return head[:from] + word + line[pos:], from + len(word), true
}

func commonPrefix(list []string) string {
	p := list[0]
	for _, s := range list[1:] {
		for !strings.HasPrefix(s, p) {
			p = p[:len(p)-1]
		}
	}
	return p
}

// columns prints words beside each other.
func columns(list []string) string {
	width := 0
	for _, w := range list {
		width = max(width, len(w)+2)
	}
	perLine := max(80/width, 1)
	var b strings.Builder
	for i, w := range list {
		if i%perLine == perLine-1 || i == len(list)-1 {
			b.WriteString(w + "\n")
		} else {
			fmt.Fprintf(&b, "%-*s", width, w)
		}
	}
	return b.String()
}

// history is what was entered, the oldest first. It forgets.
type history []string

// Add implements term.History.
func (h *history) Add(line string) {
	if line == "" || len(*h) > 0 && (*h)[len(*h)-1] == line {
		return
	}
	*h = append(*h, line)
	if len(*h) > historyLength {
		*h = slices.Delete(*h, 0, 1)
	}
}

// Len implements term.History.
func (h *history) Len() int { return len(*h) }

// At implements term.History; 0 is the newest.
func (h *history) At(i int) string { return (*h)[len(*h)-1-i] }

// keyboard translates keys that the terminal library does not know as they should be:
// for a monitor Ctrl-C does nothing and Ctrl-D deletes, both without ending the
// session, and Home and End come in many ways.
type keyboard struct {
	io.ReadWriter
	keys  *strings.Replacer
	ready []byte
}

var (
	cursorKeys = []string{
		"\x1b[1~", "\x01", "\x1b[7~", "\x01", "\x1bOH", "\x01", "\x1b[4~", "\x05", "\x1b[8~", "\x05", "\x1bOF", "\x05",
		"\x1bOA", "\x10", "\x1bOB", "\x0e", "\x1bOC", "\x06", "\x1bOD", "\x02",
	}
	monitorKeys = strings.NewReplacer(append([]string{"\x03", "", "\x04", "\x1b[3~"}, cursorKeys...)...)
	shellKeys   = strings.NewReplacer(cursorKeys...)
)

// errSequence ends a session whose escape sequence fills the library's buffer, which
// would else wait for its end without room for it.
var errSequence = errors.New("endless escape sequence")

// Read implements io.Reader.
func (k *keyboard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, errSequence
	}
	var err error
	for len(k.ready) == 0 && err == nil {
		var buf [256]byte
		var n int
		n, err = k.ReadWriter.Read(buf[:])
		k.ready = []byte(k.keys.Replace(string(buf[:n])))
	}
	n := copy(p, k.ready)
	if k.ready = k.ready[n:]; len(k.ready) > 0 {
		err = nil // it comes again
	}
	return n, err
}
