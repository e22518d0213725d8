// The mpathd that serves the root file system. Nobody could start another one when it dies, for who would has his programs
// on the very disk that waits; so a process of its own stands by from the beginning and starts the next one:
//
//   guard ──fork──► serve() ── crash, kill, start failed ──► the guard forks again: the kernel's disk is taken over
//                           ── as told (0) ──► both end
//
// Both are root storage daemons as systemd knows them: the first letter of what `ps` shows is '@', and the killing at the end
// of a shutdown spares them. Neither may be chosen when memory is short.
#pragma once

#include <functional>

namespace mpath {

// `name` is argv[0], which is written to. Call before there are threads. Returns serve()'s own result in the child, and
// the last child's in the guard.
[[nodiscard]] int guard_root(char* name, const std::function<int()>& serve);

}  // namespace mpath
