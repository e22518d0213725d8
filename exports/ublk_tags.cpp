#include "exports/ublk_tags.hpp"

#include <cerrno>
#include <optional>

#include "base/check.hpp"

namespace mpath {

UblkTags::UblkTags(BlockDevice& device, unsigned depth, std::uint32_t io_bytes, std::byte* buffers, Owner& owner)
    : device_(device),
      depth_(depth),
      io_bytes_(io_bytes),
      buffers_(buffers),
      owner_(owner),
      tags_(std::make_unique<Tag[]>(depth)) {
  for (unsigned i = 0; i < depth; ++i) {
    tags_[i].tags = this;
    tags_[i].done = &UblkTags::done;
  }
}

UblkTags::~UblkTags() {
  CHECK(in_flight_ == 0);  // the device would write into freed memory
}

void UblkTags::take(unsigned number, const ublksrv_io_desc& descriptor) noexcept {
  CHECK(number < depth_);
  ++counters_.requests;
  if (mode_ == Mode::holding) {
    ++counters_.held;
    return;
  }
  const std::optional<ublk::Request> request = ublk::decode(descriptor);
  if (!request) return answer(number, -EOPNOTSUPP);
  const bool carries = request->op == BlockOp::read || request->op == BlockOp::write;
  if (carries && request->length > io_bytes_) return answer(number, -EINVAL);
  if (mode_ == Mode::refusing) return answer(number, -EIO);

  Tag& tag = tags_[number];
  tag.op = request->op;
  tag.fua = request->fua;
  tag.may_unmap = request->may_unmap;
  tag.offset = request->offset;
  tag.length = request->length;
  tag.part = {buffer(number), static_cast<std::size_t>(carries ? request->length : 0)};
  tag.data = carries ? std::span<const iovec>(&tag.part, 1) : std::span<const iovec>();
  tag.status = BlockStatus::ok;
  ++in_flight_;
  device_.submit(tag);
}

void UblkTags::done(BlockRequest& base) noexcept {
  auto& tag = static_cast<Tag&>(base);
  tag.tags->finished(tag);
}

void UblkTags::finished(Tag& tag) noexcept {
  --in_flight_;
  if (tag.status != BlockStatus::ok && mode_ == Mode::holding) {
    // Perhaps only because we go: the next process finds out.
    ++counters_.held;
  } else {
    if (tag.status == BlockStatus::ok) {
      if (tag.op == BlockOp::read) counters_.bytes_read += tag.length;
      if (tag.op == BlockOp::write) counters_.bytes_written += tag.length;
    }
    answer(static_cast<unsigned>(&tag - tags_.get()), ublk::result_of(tag.status, tag.op, tag.length));
  }
  if (in_flight_ == 0) owner_.on_idle();
}

void UblkTags::answer(unsigned number, std::int32_t result) noexcept {
  if (result < 0) ++counters_.errors;
  owner_.on_answer(number, result);
}

}  // namespace mpath
