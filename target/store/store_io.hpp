// One request on its way through a store: slab objects that go to the ring or to a worker and come back.
//
// Threads: belongs to the shard, or to one worker between WorkPool::push() and its return.
#pragma once

#include <cstdint>
#include <functional>

#include "base/block_device.hpp"
#include "base/buffer_pool.hpp"
#include "base/result.hpp"
#include "target/store/transfer_cursor.hpp"

namespace mpath::target {

struct StoreIo {
  enum class Kind : std::uint8_t { request, atomic, work };

  Kind kind = Kind::request;
  BlockRequest* request = nullptr;  // none for `work`
  BlockStatus status = BlockStatus::ok;
  int error_number = 0;            // the errno behind a status that is not ok
  bool waited_for_medium = false;  // fua or flush: says whether a failure leaves the medium in doubt
  int lane = -1;                   // of SyncLanes, while it has one
  std::uint64_t atomic_sequence = 0;
  TransferCursor cursor;  // read, write
  Buffer bounce;          // aligned memory that stands in for the submitter's
  iovec bounce_part{};
  std::function<error_code()> work;  // on a worker; rare things only
  std::function<void(error_code)> after;
  error_code outcome;  // of `work`

  StoreIo* next = nullptr;     // queues
  StoreIo* sibling = nullptr;  // the next of a chain that one worker carries out
};

}  // namespace mpath::target
