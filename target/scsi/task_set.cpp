#include "target/scsi/task_set.hpp"

namespace mpath::target {
namespace {

using Attribute = iscsi::TaskAttribute;

bool special(const Task& task) {
  return task.attribute == Attribute::ordered || task.attribute == Attribute::head_of_queue;
}

}  // namespace

void TaskSet::add(Task& task) {
  task.older = newest_;
  task.newer = nullptr;
  (newest_ != nullptr ? newest_->newer : oldest_) = &task;
  newest_ = &task;
  ++size_;
  if (special(task)) ++special_;
}

void TaskSet::remove(Task& task) {
  (task.older != nullptr ? task.older->newer : oldest_) = task.newer;
  (task.newer != nullptr ? task.newer->older : newest_) = task.older;
  task.older = task.newer = nullptr;
  --size_;
  if (special(task)) --special_;
}

bool TaskSet::may_run(const Task& task, bool per_nexus) const {
  if (task.attribute == Attribute::head_of_queue) return true;
  if (special_ == 0) return true;
  const bool ordered = task.attribute == Attribute::ordered;
  bool older = true;  // than `task`
  for (const Task* other = oldest_; other != nullptr; other = other->newer) {
    if (other == &task) {
      older = false;
      continue;
    }
    if (per_nexus && other->nexus != task.nexus) continue;
    if (other->attribute == Attribute::head_of_queue) return false;
    if (older && (ordered || other->attribute == Attribute::ordered)) return false;
  }
  return true;
}

}  // namespace mpath::target
