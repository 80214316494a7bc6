package floorstest

import (
	"os"
	"path"
	"strings"
)

// architecture is the page that shows the packages of all modules, seen from the
// roots of modules.
var architecture = []string{"../docs/ARCHITECTURE.md", "../../docs/ARCHITECTURE.md"}

// documented reads the page; empty: the module is built without the repository
// around it.
func documented() string {
	for _, name := range architecture {
		if text, err := os.ReadFile(name); err == nil {
			return string(text)
		}
	}
	return ""
}

// Undocumented lists what the page does not show of m: its packages in the module's
// row of the table, and which of them are pure in the list of those.
func Undocumented(page string, m Module) (problems []string) {
	row := rowOf(page, m.Name)
	if row == "" {
		return []string{"docs/ARCHITECTURE.md: its table has no row that begins with | `" + m.Name + "` |"}
	}
	_, pure, _ := strings.Cut(page, "Pure packages (")
	pure, _, _ = strings.Cut(pure, ")")
	for _, p := range m.Packages {
		name := "`" + path.Base(p.Dir) + "`"
		if p.Dir != "." && !strings.Contains(row, name) && !strings.Contains(row, "`"+p.Dir+"`") {
			problems = append(problems, "docs/ARCHITECTURE.md: the row of "+m.Name+" does not have "+name)
		}
		if strings.Contains(pure, name) != p.Pure {
			problems = append(problems, "docs/ARCHITECTURE.md: the list of pure packages is not right about "+name)
		}
	}
	return problems
}

// rowOf is the module's row of the table.
func rowOf(page, module string) string {
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "| `"+module+"` |") {
			return line
		}
	}
	return ""
}
