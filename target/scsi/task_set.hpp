// The tasks of a logical unit in order of arrival, and which of them may work (SAM-5 8.2 and 8.3).
//
// SIMPLE tasks wait for HEAD OF QUEUE ones and for older ORDERED ones; ORDERED tasks for everything older and HEAD OF
// QUEUE; HEAD OF QUEUE for nobody. With one task set per nexus (TST 001b) only tasks of the same nexus count.
//
// Pure. While all tasks are SIMPLE every operation is O(1).
#pragma once

#include <cstddef>

#include "target/scsi/task.hpp"

namespace mpath::target {

class TaskSet {
 public:
  void add(Task& task);  // as the newest
  void remove(Task& task);
  [[nodiscard]] bool may_run(const Task& task, bool per_nexus) const;
  [[nodiscard]] Task* oldest() const { return oldest_; }
  [[nodiscard]] bool empty() const { return oldest_ == nullptr; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  Task* oldest_ = nullptr;
  Task* newest_ = nullptr;
  std::size_t size_ = 0;
  std::size_t special_ = 0;  // ORDERED and HEAD OF QUEUE
};

}  // namespace mpath::target
