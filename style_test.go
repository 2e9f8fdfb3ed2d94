// Package larder has no code of its own: these tests keep the rules of the whole tree. They read the sources as text and
// as syntax, never run them. A rule that is in the way is changed here, in the open, with its reason in the commit.
package larder

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/larder-db/larder"

// layer says what the packages under a folder may import of ours, besides each other when within is set.
type layer struct {
	folder  string
	imports []string
	within  bool
}

// layers is docs/architecture.md's picture of who may import whom; the first folder that fits a package counts. Nothing
// may import integration, benchmarks or cmd.
var layers = []layer{
	{folder: "cmd", imports: []string{"server", "cluster", "raftfsm", "snapshot", "aof", "engine", "client"}, within: true},
	{folder: "server", imports: []string{"cluster", "raftfsm", "snapshot", "aof", "engine"}, within: true},
	{folder: "cluster", imports: []string{"raftfsm", "snapshot", "aof", "engine"}, within: true},
	{folder: "raftfsm", imports: []string{"snapshot", "aof", "engine"}, within: true},
	{folder: "snapshot", imports: []string{"aof", "engine"}, within: true},
	{folder: "aof", within: true},
	{folder: "client", within: true},
	{folder: "engine/command", imports: []string{"engine/keyspace", "engine/store", "engine/front", "engine/value", "engine/reply"}},
	{folder: "engine/keyspace", imports: []string{"engine/front", "engine/store", "engine/value"}},
	{folder: "engine/front", imports: []string{"engine/value"}},
	{folder: "engine/store"},
	{folder: "engine/value", within: true},
	{folder: "engine/reply"},
	{folder: "engine", imports: []string{"engine/command", "engine/keyspace", "engine/front", "engine/store", "engine/value", "engine/reply"}},
	{folder: "integration", imports: []string{"aof", "cluster", "engine", "server"}, within: true},
	{folder: "benchmarks", within: true},
}

// timeless are the folders whose clocks and random numbers are handed in, so that a replay does what the first run did.
var timeless = []string{"engine", "aof", "raftfsm", "snapshot", "cluster"}

// longFunctions is how many functions have more than longFunction lines. It may only go down.
const (
	longFunction  = 100
	longFunctions = 0
)

type source struct {
	path   string
	text   []byte
	file   *ast.File
	fset   *token.FileSet
	isTest bool
}

// sources returns every Go file of the module, parsed.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, name := range filesOf(t, ".go") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{name, text, file, fset, strings.HasSuffix(name, "_test.go")})
	}
	if len(all) < 50 {
		t.Fatalf("found only %d Go files: the tests run in the wrong folder", len(all))
	}
	return all
}

// filesOf lists the module's files whose names end as given, built and stored data left out.
func filesOf(t *testing.T, endings ...string) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == ".git" || name == "bin" || name == "data" || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		for _, ending := range endings {
			if strings.HasSuffix(name, ending) {
				names = append(names, name)
				break
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func (s source) at(pos token.Pos) string { return s.fset.Position(pos).String() }

// imports returns the paths that the file imports, by the name under which it uses them.
func (s source) imports(t *testing.T) map[string]string {
	t.Helper()
	byName := map[string]string{}
	for _, spec := range s.file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		name := path.Base(imported)
		if imported == "math/rand/v2" {
			name = "rand"
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		byName[name] = imported
	}
	return byName
}

func under(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }

// mayImport tells whether a package in folder from may import the one in folder to.
func mayImport(from, to string) bool {
	for _, l := range layers {
		if !under(from, l.folder) {
			continue
		}
		if l.within && under(to, l.folder) {
			return true
		}
		return slices.ContainsFunc(l.imports, func(allowed string) bool { return under(to, allowed) })
	}
	return false
}

func TestImportsRunDownward(t *testing.T) {
	for _, s := range sources(t) {
		from := path.Dir(s.path)
		for _, imported := range s.imports(t) {
			to, ours := strings.CutPrefix(imported, module+"/")
			if !ours || s.isTest && from == to || mayImport(from, to) {
				continue
			}
			if s.isTest && to == "race" {
				continue
			}
			// A test may build on the rooms below its own room's floor: engine's tests use all of engine.
			if s.isTest && under(from, "engine") && under(to, "engine") {
				continue
			}
			t.Errorf("%s imports %s, which its layer may not", s.path, to)
		}
	}
}

// seeded are the names of math/rand that draw from nothing global: constructors and types.
var seeded = regexp.MustCompile(`^(New|NewSource|NewZipf|NewPCG|NewChaCha8|Rand|Source|Source64|Zipf|PCG|ChaCha8)$`)

// ambient tells whether the selected name reads the machine's clock or a global source of random numbers.
func ambient(imported, name string) bool {
	switch imported {
	case "time":
		return name == "Now" || name == "Since" || name == "Until"
	case "math/rand", "math/rand/v2":
		return !seeded.MatchString(name)
	case "crypto/rand":
		return true
	}
	return false
}

func TestClocksAndChanceAreHandedIn(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest || !slices.ContainsFunc(timeless, func(folder string) bool { return under(s.path, folder) }) {
			continue
		}
		imports := s.imports(t)
		for _, decl := range s.file.Decls {
			// What was not given becomes the real clock in EnsureDefaults, or the real source in its system… function.
			f, ok := decl.(*ast.FuncDecl)
			if ok && (f.Name.Name == "EnsureDefaults" || strings.HasPrefix(f.Name.Name, "system")) {
				continue
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				selector, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if pkg, ok := selector.X.(*ast.Ident); ok && ambient(imports[pkg.Name], selector.Sel.Name) {
					t.Errorf("%s: %s.%s: take it from the Options", s.at(n.Pos()), pkg.Name, selector.Sel.Name)
				}
				return true
			})
		}
	}
}

func TestLongFunctionsDoNotBecomeMore(t *testing.T) {
	var long []string
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			if lines > longFunction {
				long = append(long, s.at(f.Pos())+": "+f.Name.Name+" has "+strconv.Itoa(lines)+" lines")
			}
		}
	}
	if len(long) > longFunctions {
		t.Errorf("%d functions have more than %d lines, %d are allowed:\n%s",
			len(long), longFunction, longFunctions, strings.Join(long, "\n"))
	}
	if len(long) < longFunctions {
		t.Errorf("only %d functions have more than %d lines: set longFunctions to that", len(long), longFunction)
	}
}

func TestPackagesAreNamedForWhatTheyHold(t *testing.T) {
	empty := regexp.MustCompile(`^(util|utils|common|helper|helpers|misc|shared|base)(_test)?$`)
	for _, s := range sources(t) {
		if name := s.file.Name.Name; empty.MatchString(name) {
			t.Errorf("%s: package %s says nothing about what is in it", s.path, name)
		}
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	says := map[string]bool{}
	for _, s := range sources(t) {
		folder := path.Dir(s.path)
		opening := "Package "
		if s.file.Name.Name == "main" {
			opening = ""
		}
		doc := s.file.Doc.Text()
		says[folder] = says[folder] || doc != "" && strings.HasPrefix(doc, opening)
	}
	for folder, ok := range says {
		if !ok {
			t.Errorf("%s: no file has a package comment", folder)
		}
	}
}

func TestThingsToDoHaveAnIssue(t *testing.T) {
	promise := regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)
	numbered := regexp.MustCompile(`\b(TODO|FIXME|XXX)\(#\d+\)`)
	for _, s := range sources(t) {
		for _, group := range s.file.Comments {
			for _, comment := range group.List {
				if promise.MatchString(comment.Text) && !numbered.MatchString(comment.Text) {
					t.Errorf("%s: write TODO(#number) with the issue's number", s.at(comment.Pos()))
				}
			}
		}
	}
}

func TestSourcesAreFormatted(t *testing.T) {
	for _, s := range sources(t) {
		formatted, err := format.Source(s.text)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.text, formatted) {
			t.Errorf("%s is not gofmt'ed", s.path)
		}
	}
}

// TestDocumentsNameWhatExists keeps the documents true in what can be checked: the files that they name in backticks are
// there, and so are the tests, fuzzers and benchmarks.
func TestDocumentsNameWhatExists(t *testing.T) {
	declared := map[string]bool{}
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				declared[f.Name.Name] = true
			}
		}
	}
	file := regexp.MustCompile("`((?:[a-z][a-z0-9_]*/)*[A-Za-z0-9_]+\\.(?:go|md|conf))`")
	test := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)`")
	for _, name := range filesOf(t, ".md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range file.FindAllSubmatch(text, -1) {
			if _, err := os.Stat(string(match[1])); err != nil && string(match[1]) != "redis.conf" {
				t.Errorf("%s names %s, which is not there", name, match[1])
			}
		}
		for _, match := range test.FindAllSubmatch(text, -1) {
			if !declared[string(match[1])] {
				t.Errorf("%s names %s, which is not there", name, match[1])
			}
		}
	}
}
