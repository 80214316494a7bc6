// Package floorstest checks how the packages of a module depend on each other.
//
// Every package stands on a floor, and imports within a module go strictly
// down: what is on one floor knows nothing of its neighbours or of what is
// above. Some imports are kept to few packages, each for a reason that the
// failure prints, and pure packages are kept from everything that would make
// their results depend on more than their arguments.
//
// Each module has the table of its packages in floors_test.go at its root. A
// package that is not in the table fails the test, so that its place is chosen
// and not found out later. Test files are not looked at: they may reach up.
package floorstest
